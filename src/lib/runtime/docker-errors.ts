import { FulaError, messageOf, systemErrorCode } from "../kernel/errors.ts";

/** Errors of the connection itself: the engine said nothing. */
const SILENT: ReadonlySet<string> = new Set([
  "ENOENT",
  "ECONNREFUSED",
  "ECONNRESET",
  "ETIMEDOUT",
  "EPIPE",
  "EHOSTUNREACH",
]);

/** The HTTP status of an answer of the Engine API that was an error; null where there was no answer. */
export function engineStatus(error: unknown): number | null {
  if (typeof error !== "object" || error === null || !("statusCode" in error)) return null;
  return typeof error.statusCode === "number" ? error.statusCode : null;
}

/** What the engine said, without the client's own words around it. */
export function engineMessage(error: unknown): string {
  if (typeof error === "object" && error !== null && "json" in error) {
    const { json } = error;
    if (typeof json === "object" && json !== null && "message" in json && typeof json.message === "string") {
      return json.message;
    }
  }
  return messageOf(error);
}

/** Turns an error of the Engine API into the one that an operator understands; gives anything else back as it is. */
export function explainEngineError(error: unknown, doing: string): unknown {
  const errno = systemErrorCode(error);
  if (errno === "EACCES" || errno === "EPERM") {
    return new FulaError("FULA_DOCKER_UNREACHABLE", `The Docker Engine refuses this user (${errno}) while ${doing}.`, {
      cause: error,
      hint: "run the command as root.",
    });
  }
  if (errno !== undefined && SILENT.has(errno)) {
    return new FulaError("FULA_DOCKER_UNREACHABLE", `The Docker Engine gave no answer (${errno}) while ${doing}.`, {
      cause: error,
      hint: "see whether it runs: systemctl status docker; then run the command again.",
    });
  }
  const status = engineStatus(error);
  if (status === null) return error;
  const said = engineMessage(error);
  if (/port is already allocated|address already in use/.test(said)) {
    return new FulaError("FULA_PORT_IN_USE", `A port was taken while ${doing}: ${said}`, {
      cause: error,
      hint: "see who has it: ss -ltnup; or choose another port in the settings.",
    });
  }
  return new FulaError("FULA_DOCKER_FAILED", `The Docker Engine failed while ${doing}: ${said}`, {
    cause: error,
    hint: "its own log says more: journalctl -u docker; what is done stays done, the command can be run again.",
    details: { status },
  });
}

/** Runs calls of the Engine API. @throws FulaError FULA_DOCKER_UNREACHABLE, FULA_DOCKER_FAILED, FULA_PORT_IN_USE */
export async function askingEngine<T>(doing: string, ask: () => Promise<T>): Promise<T> {
  try {
    return await ask();
  } catch (error) {
    throw explainEngineError(error, doing);
  }
}

/** What `ask` gives; null where the engine says that there is no such thing. */
export async function orAbsent<T>(ask: () => Promise<T>): Promise<T | null> {
  try {
    return await ask();
  } catch (error) {
    if (engineStatus(error) === 404) return null;
    throw error;
  }
}
