import type { Config } from "../config/schema.ts";
import { FulaError } from "../kernel/errors.ts";
import { type DockerDetection, isDockerPresent } from "../runtime/docker.ts";

/** How the master will run, and why it was decided so. */
export interface RuntimeChoice {
  readonly runtime: "embedded" | "external";
  readonly reason: string;
}

/** What decides the runtime. */
export interface RuntimeFacts {
  /** What was asked for: the option, else the settings. */
  readonly wanted: Config["runtime"];
  /** Where the settings of this run say that the ledger is. */
  readonly postgresMode: Config["postgres"]["mode"];
  readonly docker: DockerDetection;
}

/**
 * Decides where this master's services run. `external` is about PostgreSQL alone: blocks and pinset stay on the box.
 * @throws FulaError FULA_RUNTIME_UNSUPPORTED, FULA_USAGE
 */
export function chooseRuntime({ wanted, postgresMode, docker }: RuntimeFacts): RuntimeChoice {
  if (wanted === "docker") {
    throw new FulaError(
      "FULA_RUNTIME_UNSUPPORTED",
      "This version of fula-master does not set up containers: it runs an embedded PostgreSQL, or uses an external one.",
      { hint: "fula-master join --runtime embedded, or --postgres-url for a server that runs already." },
    );
  }
  if (postgresMode === "external") {
    return { runtime: "external", reason: "the settings name an external PostgreSQL server" };
  }
  if (wanted === "external") {
    throw new FulaError("FULA_USAGE", "The external runtime needs the address of a PostgreSQL server.", {
      hint: "add --postgres-url postgres://user@host:5432/database, or set postgres.host in fula-master.yaml.",
    });
  }
  if (wanted === "embedded") return { runtime: "embedded", reason: "the runtime is set to embedded" };
  return {
    runtime: "embedded",
    reason: isDockerPresent(docker)
      ? `Docker Engine ${docker.version} answers, but this version does not set up containers`
      : "no Docker Engine answers here",
  };
}
