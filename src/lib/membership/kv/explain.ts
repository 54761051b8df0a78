import { JetStreamApiError } from "@nats-io/jetstream";
import { errors } from "@nats-io/transport-node";
import { FulaError, messageOf } from "../../kernel/errors.ts";
import { controlPlaneSilent } from "./budget.ts";

/** Codes of the JetStream API that say what an operator can do; nats-server, `server/errors.json`. */
const API = {
  NO_PEERS: 10_005,
  NOT_AVAILABLE: 10_008,
  NOT_LEADER: 10_009,
  INSUFFICIENT_RESOURCES: 10_023,
  STREAM_LIMIT: 10_027,
  MEMORY: 10_028,
  STORAGE: 10_047,
  MESSAGE_TOO_LARGE: 10_054,
  NAME_TAKEN: 10_058,
  NOT_CLUSTERED: 10_074,
  STORE_FAILED: 10_077,
  OFFLINE: 10_118,
  MOVE_IN_PROGRESS: 10_124,
  CHANGE_IN_FLIGHT: 10_202,
} as const;

const NO_LEADER: ReadonlySet<number> = new Set([API.NOT_AVAILABLE, API.NOT_LEADER, API.OFFLINE]);
const NO_ROOM: ReadonlySet<number> = new Set([
  API.INSUFFICIENT_RESOURCES,
  API.STREAM_LIMIT,
  API.MEMORY,
  API.STORAGE,
  API.STORE_FAILED,
]);
const BUSY: ReadonlySet<number> = new Set([API.MOVE_IN_PROGRESS, API.CHANGE_IN_FLIGHT]);
const TOO_FEW: ReadonlySet<number> = new Set([API.NO_PEERS, API.NOT_CLUSTERED]);

/** True where the cluster has fewer servers than the replicas that were asked for. */
export function isTooFewServers(error: unknown): boolean {
  return error instanceof JetStreamApiError && TOO_FEW.has(error.code);
}

/** True where a stream of that name is there, with another configuration than was asked for. */
export function isNameTaken(error: unknown): boolean {
  return error instanceof JetStreamApiError && error.code === API.NAME_TAKEN;
}

/** True where the server does not let this box in: waiting does not help. */
export function isRefusal(error: unknown): boolean {
  return (
    error instanceof errors.AuthorizationError ||
    error instanceof errors.UserAuthenticationExpiredError ||
    error instanceof errors.PermissionViolationError
  );
}

/** The library exports no class for it. */
function isWithoutJetStream(error: unknown): boolean {
  return (
    (error instanceof Error && error.name === "JetStreamNotEnabled") ||
    (error instanceof errors.RequestError && error.isNoResponders())
  );
}

function refused(address: string, cause: unknown): FulaError {
  return new FulaError(
    "FULA_CONTROL_PLANE_UNREACHABLE",
    `The NATS server at ${address} does not let this box in: ${messageOf(cause)}.`,
    {
      hint: "check the NKey that this box logs in with (controlPlane.nkeyFile) against the users in the server's file.",
      details: { silence: "unreachable", refused: true },
      cause,
    },
  );
}

function tooLarge(what: string, cause: unknown): FulaError {
  return new FulaError("FULA_MEMBERSHIP_INVALID", `The control plane could not ${what}: the record is too large.`, {
    hint: "a record may have as many bytes as the server's max_payload; a pool of that size wants to be two.",
    cause,
  });
}

function explainApi(error: JetStreamApiError, what: string): FulaError {
  if (NO_LEADER.has(error.code)) {
    return controlPlaneSilent(
      `The control plane could not ${what}: it has no leader (${error.message})`,
      "no-quorum",
      "wait until more than half of its servers run; fula-master status shows them.",
      error,
    );
  }
  if (BUSY.has(error.code)) {
    return controlPlaneSilent(
      `The control plane could not ${what}: another change of its servers is under way (${error.message})`,
      "no-quorum",
      "try again in a moment; fula-master status shows the servers.",
      error,
    );
  }
  if (NO_ROOM.has(error.code)) {
    return controlPlaneSilent(
      `The control plane could not ${what}: a server has no room or its disk fails (${error.message})`,
      "no-quorum",
      "free space where the server keeps its store, or raise its limits; its log says which one it is.",
      error,
    );
  }
  if (error.code === API.NO_PEERS) {
    return controlPlaneSilent(
      `The control plane could not ${what}: fewer servers have found one another than shall hold it (${error.message})`,
      "no-quorum",
      "start the other servers, or set controlPlane.replicas to as many as there are.",
      error,
    );
  }
  if (error.code === API.MESSAGE_TOO_LARGE) {
    return tooLarge(what, error);
  }
  return new FulaError("FULA_CONTROL_PLANE_UNREADABLE", `The control plane could not ${what}: ${error.message}.`, {
    hint: "the server's log says more; fula-master doctor checks its version and its buckets.",
    details: { code: error.code },
    cause: error,
  });
}

/**
 * Says what an error of the client library means and what to do. Errors of ours pass.
 * @param what was asked, as in “write bucket FULA_rooms” @param address where, for messages
 */
export function explainNatsError(error: unknown, what: string, address: string): unknown {
  if (error instanceof FulaError) return error;
  if (error instanceof JetStreamApiError) return explainApi(error, what);
  // The library knows the server's max_payload and sends nothing larger.
  if (error instanceof errors.InvalidArgumentError && error.message.includes("max_payload")) {
    return tooLarge(what, error);
  }
  if (isRefusal(error)) return refused(address, error);
  if (isWithoutJetStream(error)) {
    return controlPlaneSilent(
      `The control plane could not ${what}: the server at ${address} has no JetStream for this box yet`,
      "no-quorum",
      "a server that has just been started has none until it found the others; its account must have JetStream enabled.",
      error,
    );
  }
  if (error instanceof errors.TimeoutError) {
    return controlPlaneSilent(
      `The control plane did not ${what}: the server at ${address} has not answered in time`,
      "no-quorum",
      "fula-master status shows its servers and their leader.",
      error,
    );
  }
  if (error instanceof errors.RequestError || error instanceof errors.ClosedConnectionError) {
    return controlPlaneSilent(
      `The connection to the NATS server at ${address} broke: ${messageOf(error)}`,
      "unreachable",
      "fula-master status shows the control plane.",
      error,
    );
  }
  return error;
}
