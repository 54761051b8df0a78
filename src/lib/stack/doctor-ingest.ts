import { z } from "zod";
import { isLoopback } from "../config/addresses.ts";
import type { LoadedConfig } from "../config/load.ts";
import { probeHttp } from "../runtime/http-probe.ts";
import { type DoctorCheck, doubtful, failed, fine } from "./doctor.ts";
import { assertIngestSettings } from "./ingest-check.ts";
import { LONG_LOOK_MS } from "./look.ts";
import type { Finding } from "./preflight.ts";

const readinessSchema = z.object({
  checks: z.array(z.object({ name: z.string(), state: z.string(), error: z.string().nullable() })),
});

function readinessOf(body: string): z.infer<typeof readinessSchema> | null {
  try {
    return readinessSchema.safeParse(JSON.parse(body)).data ?? null;
  } catch {
    return null;
  }
}

function exposure({ host, insecure, tlsCert }: LoadedConfig["config"]["ingest"]): readonly Finding[] {
  if (!insecure || tlsCert !== null || isLoopback(host)) return [];
  return [
    doubtful(
      `Blocks are taken on ${host} without TLS (ingest.insecure): whoever is on the way reads credentials.`,
      "set ingest.tlsCert and ingest.tlsKey.",
    ),
  ];
}

async function checkIngest(loaded: LoadedConfig, signal: AbortSignal): Promise<readonly Finding[]> {
  assertIngestSettings(loaded);
  const { server, ingest } = loaded.config;
  const answer = await probeHttp({ ...server, path: "/readyz" }, LONG_LOOK_MS, signal);
  const report = answer === null ? null : readinessOf(answer.body);
  if (report === null) return [failed("serve does not answer, so that no blocks are taken.", "fula-master start")];
  const wanted = ["kubo", "masters"].map((name) => report.checks.find((check) => check.name === name));
  if (wanted.some((check) => check === undefined)) {
    return [
      failed(
        "serve runs, and takes no blocks: its settings were others when it began.",
        "fula-master stop, then start.",
      ),
    ];
  }
  const bad = wanted.filter((check) => check !== undefined && check.state !== "ok");
  if (bad.length === 0) return [fine(`blocks are taken on ${ingest.host}:${ingest.port}`), ...exposure(ingest)];
  return [
    ...bad.map((check) =>
      failed(
        `${check?.name} is ${check?.state}: ${check?.error ?? "no reason is given"}.`,
        check?.name === "kubo"
          ? "look at the kubo container (docker logs)."
          : "see that ingest.masters can be reached from here.",
      ),
    ),
    ...exposure(ingest),
  ];
}

/** Whether a storage node that is to take blocks does; nothing on any other box. */
export function ingestCheck(loaded: LoadedConfig): readonly DoctorCheck[] {
  const { node, ingest } = loaded.config;
  if (node.role !== "storage" || ingest.mode === "off") return [];
  return [{ name: "ingest", run: async (signal) => await checkIngest(loaded, signal) }];
}
