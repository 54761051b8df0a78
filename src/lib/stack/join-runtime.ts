import type { Config } from "../config/schema.ts";
import { FulaError } from "../kernel/errors.ts";
import { type DockerDetection, isDockerPresent } from "../runtime/docker.ts";

/** How a master runs, once it is decided. */
export type Runtime = "embedded" | "docker" | "external";

/** How the master will run, and why it was decided so. */
export interface RuntimeChoice {
  readonly runtime: Runtime;
  readonly reason: string;
}

/** What decides the runtime. */
export interface RuntimeFacts {
  /** What was asked for: the option, else the settings. */
  readonly wanted: Config["runtime"];
  /** What an earlier join decided; null on a box that is none of ours yet. */
  readonly joinedAs: Runtime | null;
  /** Where the settings of this run say that the ledger is. */
  readonly postgresMode: Config["postgres"]["mode"];
  /** True where the settings of this run name a Kubo node and an IPFS Cluster peer that run already. */
  readonly writerGiven: boolean;
  readonly docker: DockerDetection;
  readonly isRoot: boolean;
}

function dockerReason({ docker }: RuntimeFacts): string {
  // An engine that does not answer is the business of the preflight check "docker".
  const version = isDockerPresent(docker) ? `Docker Engine ${docker.version} answers` : "it was asked for";
  return `services run in containers: ${version}`;
}

function whyNotDocker({ docker, isRoot }: RuntimeFacts): string | null {
  if (!isDockerPresent(docker)) return "no Docker Engine answers here";
  if (!isRoot) return `Docker Engine ${docker.version} answers, but only root may set up containers with secrets`;
  return null;
}

/**
 * Decides where this master's services run. `external` means that nothing is started for it but its own daemon: the
 * ledger is somebody else's, blocks and pinset lie on the box or with somebody else. A box that has joined stays what it is.
 * @throws FulaError FULA_USAGE where the runtime that was asked for needs an address that nobody gave
 */
export function chooseRuntime(facts: RuntimeFacts): RuntimeChoice {
  const { joinedAs, postgresMode, writerGiven } = facts;
  const wanted = facts.wanted === "auto" ? (joinedAs ?? "auto") : facts.wanted;
  if (wanted === "docker") return { runtime: "docker", reason: dockerReason(facts) };
  if (postgresMode === "external" && (wanted !== "auto" || writerGiven)) {
    return { runtime: "external", reason: "the settings name an external PostgreSQL server" };
  }
  if (wanted === "external") {
    throw new FulaError("FULA_USAGE", "The external runtime needs the address of a PostgreSQL server.", {
      hint: "add --postgres-url postgres://user@host:5432/database, or set postgres.host in fula-master.yaml.",
    });
  }
  if (wanted === "embedded") return { runtime: "embedded", reason: "the runtime is set to embedded" };
  const obstacle = whyNotDocker(facts);
  if (obstacle === null) return { runtime: "docker", reason: dockerReason(facts) };
  if (postgresMode === "external") {
    return { runtime: "external", reason: `the settings name an external PostgreSQL server, and ${obstacle}` };
  }
  return { runtime: "embedded", reason: obstacle };
}
