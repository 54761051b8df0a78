import { registerHooks } from "node:module";
import util from "node:util";
import { z } from "zod";

/**
 * Loaded before the compliance checker of the Pinning Service API, whose checks stay as they are. It lets the checker run
 * without the internet (it would read the specification from a web site), gives its contents names that can be known
 * beforehand, so that they can be pinned, and lets it wait where it takes for granted that a pin is made at once.
 */

const { COMPLIANCE_SPEC = "", COMPLIANCE_OUT = "" } = process.env;
/** Between two looks at a pin, and how many. */
const LOOK_EVERY_MS = 100;
const LOOKS_MAX = 900;

const REPLACED: readonly (readonly [file: string, from: RegExp, to: string])[] = [
  ["utils/constants.js", /^const specLocation = .*;$/m, `const specLocation = ${JSON.stringify(COMPLIANCE_SPEC)};`],
  ["utils/constants.js", /^const docsDir = .*;$/m, `const docsDir = ${JSON.stringify(COMPLIANCE_OUT)};`],
  // A request a second is for services on the internet.
  ["utils/getQueue.js", /interval: 1000/, "interval: 10"],
];

function textOf(source: unknown): string {
  return source instanceof Uint8Array ? Buffer.from(source).toString("utf8") : String(source);
}

registerHooks({
  load: (url, context, next) => {
    const loaded = next(url, context);
    const mine = REPLACED.filter(([file]) => url.endsWith(`/pinning-service-compliance/dist/src/${file}`));
    if (mine.length === 0) return loaded;
    let source = textOf(loaded.source);
    for (const [file, from, to] of mine) {
      if (!from.test(source)) throw new Error(`${file} of the checker is not as this preload knows it`);
      source = source.replace(from, to);
    }
    return { ...loaded, source };
  },
});

// What its packages use of old versions of Node.js.
Object.assign(util, {
  isObject: (value: unknown) => typeof value === "object" && value !== null,
  isNumber: (value: unknown) => typeof value === "number",
  isFunction: (value: unknown) => typeof value === "function",
  isString: (value: unknown) => typeof value === "string",
  isUndefined: (value: unknown) => value === undefined,
});

// Contents are what this says when it is asked: "1,0", "2,0", …
let asked = 0;
const { hrtime } = process;
process.hrtime = Object.assign((): [number, number] => [++asked, 0], { bigint: () => hrtime.bigint() });

let lastPin: { readonly url: string; readonly headers: Headers } | null = null;
const send = globalThis.fetch;

async function untilPinned({ url, headers }: NonNullable<typeof lastPin>): Promise<void> {
  for (let look = 0; look < LOOKS_MAX; look += 1) {
    const answer = await send(url, { headers });
    const { status } = z.object({ status: z.string().optional() }).parse(await answer.json());
    if (status === "pinned") return;
    await new Promise((resolve) => {
      setTimeout(resolve, LOOK_EVERY_MS);
    });
  }
}

globalThis.fetch = async (input, init) => {
  const request = new Request(input, init);
  const { method, headers } = request;
  const url = new URL(request.url);
  if (method === "GET" && url.searchParams.has("match") && lastPin !== null) await untilPinned(lastPin);
  const answer = await send(request);
  if (method === "POST" && url.pathname === "/pins" && answer.ok) {
    const { requestid } = z.object({ requestid: z.string() }).parse(await answer.clone().json());
    lastPin = { url: `${url.href}/${requestid}`, headers };
  }
  return answer;
};
