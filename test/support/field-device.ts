import { z } from "zod";
import { type KuboProcess, startKubo } from "./kubo-process.ts";

const pageSchema = z.object({
  results: z.array(
    z.object({
      requestid: z.string(),
      created: z.string(),
      pin: z.object({ cid: z.string(), name: z.string().optional() }),
      delegates: z.array(z.string()),
    }),
  ),
});

/** A request as a device reads it. */
type DevicePin = z.infer<typeof pageSchema>["results"][number];

/** What a device knows after a cycle. */
export interface DeviceCycle {
  readonly kind: "full" | "incremental";
  /** Sizes of the pages that it read. */
  readonly pages: readonly number[];
  /** All that it has seen and not found gone, by request. */
  readonly known: ReadonlyMap<string, DevicePin>;
  /** CID of the latest registry; null before the first. */
  readonly registry: string | null;
}

/** A device in the field: polls the pinning service with its user's token and pins what it hears of on its own Kubo. */
export interface FieldDevice extends AsyncDisposable {
  readonly kubo: KuboProcess;
  /** One of the polls that devices make every three minutes. */
  cycle(): Promise<DeviceCycle>;
}

const PAGE = 1_000;
const FULL_EVERY = 10;
const OVERLAP_MS = 60_000;
const SERVICE_TIMEOUT_MS = 60_000;
const KUBO_TIMEOUT_MS = 120_000;
const REGISTRY = "fula-bucket-registry";

async function readPages(
  endpoint: string,
  token: string,
  after: string | null,
): Promise<readonly (readonly DevicePin[])[]> {
  const pages: (readonly DevicePin[])[] = [];
  for (let before: string | null = null; ; ) {
    const question: Record<string, string> = {
      limit: String(PAGE),
      ...(before !== null && { before }),
      ...(after !== null && { after }),
    };
    const answer = await fetch(`${endpoint}/pins?${new URLSearchParams(question).toString()}`, {
      headers: { authorization: `Bearer ${token}` },
      signal: AbortSignal.timeout(SERVICE_TIMEOUT_MS),
    });
    if (answer.status !== 200) throw new Error(`The service answered ${answer.status}: ${await answer.text()}`);
    const { results } = pageSchema.parse(await answer.json());
    pages.push(results);
    if (results.length < PAGE) return pages;
    before = results.at(-1)?.created ?? null;
  }
}

/** Starts one, as devices are that were never updated. */
export async function startFieldDevice(endpoint: string, token: string): Promise<FieldDevice> {
  const kubo = await startKubo();
  const known = new Map<string, DevicePin>();
  const ask = async (path: string): Promise<string> => {
    const answer = await fetch(`${kubo.api}/api/v0/${path}`, {
      method: "POST",
      signal: AbortSignal.timeout(KUBO_TIMEOUT_MS),
    });
    const text = await answer.text();
    if (answer.status !== 200) throw new Error(`${path}: ${text}`);
    return text;
  };
  let cycles = 0;
  return {
    kubo,
    cycle: async () => {
      const isFull = cycles % FULL_EVERY === 0;
      cycles += 1;
      const newest = [...known.values()].map(({ created }) => created).reduce((a, b) => (a > b ? a : b), "");
      const after = isFull ? null : new Date(Date.parse(newest) - OVERLAP_MS).toISOString();
      const pages = await readPages(endpoint, token, after);
      if (isFull) known.clear();
      for (const pin of pages.flat()) known.set(pin.requestid, pin);
      const pins = [...known.values()];
      const registries = pins.filter(({ pin }) => pin.name === REGISTRY);
      const latest = registries.reduce<DevicePin | null>((a, b) => (a === null || b.created > a.created ? b : a), null);
      for (const address of new Set(pins.flatMap(({ delegates }) => delegates)))
        await ask(`swarm/connect?arg=${address}`);
      const pinned = await ask("pin/ls?type=recursive");
      for (const cid of new Set(pins.map(({ pin }) => pin.cid))) {
        if (!pinned.includes(cid)) await ask(`pin/add?recursive=true&arg=${cid}`);
      }
      return {
        kind: isFull ? "full" : "incremental",
        pages: pages.map((page) => page.length),
        known: new Map(known),
        registry: latest?.pin.cid ?? null,
      };
    },
    [Symbol.asyncDispose]: async () => await kubo[Symbol.asyncDispose](),
  };
}
