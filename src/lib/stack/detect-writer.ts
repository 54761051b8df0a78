import type { RunProgram } from "./scheduler.ts";

/** A Kubo node and the IPFS Cluster peer on it that run already and can be adopted. */
export interface Writer {
  /** Multiaddress of Kubo's RPC API. */
  readonly kuboApi: string;
  /** Multiaddress of the peer's REST API. */
  readonly clusterApi: string;
  /** How it was found, in words: `the systemd units ipfs.service and ipfscluster.service are active`. */
  readonly found: string;
}

/** One container, as far as it matters here. */
export interface ContainerFact {
  readonly name: string;
  readonly isRunning: boolean;
  /** Compose project that it belongs to; null for none. */
  readonly project: string | null;
}

/** What was found of a writer. `half`: one of its two parts is there without the other. */
export type WriterLook =
  | { readonly state: "none" }
  | { readonly state: "found"; readonly writer: Writer }
  | { readonly state: "half"; readonly what: string };

/** What `findWriter` looks at. */
export interface WriterFacts {
  readonly run: RunProgram;
  /** Null where no Docker Engine can be asked. */
  readonly containers: readonly ContainerFact[] | null;
  /** Compose project of this box: its containers are no foreign writer. */
  readonly project: string;
}

/** The units under which the fleet's set-up script runs a writer. */
const UNITS = { kubo: "ipfs.service", cluster: "ipfscluster.service" } as const;
/** The names that its containers have, whoever starts them. */
const NAMES = { kubo: "ipfs_host", cluster: "ipfs_cluster" } as const;
/** Where such a writer listens: it shares the network of the host and keeps the daemons' own ports. */
const KUBO_API = "/ip4/127.0.0.1/tcp/5001";
const CLUSTER_API = "/ip4/127.0.0.1/tcp/9094";

/** The parts of a writer, and which of them are there. */
interface Parts {
  readonly kubo: boolean;
  readonly cluster: boolean;
}

function judge(
  { kubo, cluster }: Parts,
  names: { readonly kubo: string; readonly cluster: string },
  is: string,
): WriterLook {
  if (!kubo && !cluster) return { state: "none" };
  if (!kubo || !cluster) {
    const [there, missing] = kubo ? [names.kubo, names.cluster] : [names.cluster, names.kubo];
    return { state: "half", what: `${there} ${is}, ${missing} ${is === "runs" ? "does not" : "is not"}` };
  }
  const found = `${names.kubo} and ${names.cluster} ${is === "is active" ? "are active" : "run"}`;
  return { state: "found", writer: { kuboApi: KUBO_API, clusterApi: CLUSTER_API, found } };
}

async function isActive(run: RunProgram, unit: string): Promise<boolean> {
  return (await run("systemctl", ["is-active", unit])).stdout.trim() === "active";
}

/**
 * Looks for a writer that runs on this box: the fleet's systemd units, else containers of its names that belong to
 * another project than ours or to none. Reads only.
 */
export async function findWriter({ run, containers, project }: WriterFacts): Promise<WriterLook> {
  const units = { kubo: await isActive(run, UNITS.kubo), cluster: await isActive(run, UNITS.cluster) };
  const byUnits = judge(units, UNITS, "is active");
  if (byUnits.state !== "none") return byUnits;
  const runs = (name: string): boolean =>
    (containers ?? []).some((each) => each.name === name && each.isRunning && each.project !== project);
  return judge({ kubo: runs(NAMES.kubo), cluster: runs(NAMES.cluster) }, NAMES, "runs");
}
