import { FulaError } from "../kernel/errors.ts";

/** What a control plane keeps, as messages name it. */
export type RecordKind = "pool" | "member" | "sealed key" | "operator" | "bucket";

const LIST_COMMANDS: Readonly<Record<RecordKind, string>> = {
  pool: "fula-master membership pool list shows what there is.",
  member: "fula-master membership member list <pool> shows who is in it.",
  "sealed key": "fula-master membership key list <pool> shows which epochs were sealed to whom.",
  operator: "fula-master membership operator list shows who there is.",
  bucket: "fula-master join makes the buckets of a new control plane.",
};

/** The error of both stores for a record that is not there. @param id what was asked for, in words */
export function membershipNotFound(kind: RecordKind, id: string): FulaError {
  return new FulaError("FULA_MEMBERSHIP_NOT_FOUND", `The control plane has no ${kind} ${id}.`, {
    hint: LIST_COMMANDS[kind],
    details: { kind, id },
  });
}

/** The error of both stores for a record that was to be made and is there already. */
export function membershipExists(kind: RecordKind, id: string): FulaError {
  return new FulaError("FULA_MEMBERSHIP_EXISTS", `The control plane has the ${kind} ${id} already.`, {
    hint: LIST_COMMANDS[kind],
    details: { kind, id },
  });
}

/** The error of both stores for whoever comes second. @param what happened meanwhile, a sentence without its full stop */
export function membershipRaced(what: string): FulaError {
  return new FulaError("FULA_MEMBERSHIP_RACED", `${what}. Nothing was changed.`, {
    hint: "run the command again: it begins with what is there now.",
  });
}

/** The error for a member that was to go and has the newest secret once more. */
export function givenAgain(pool: string, endpoint: string): FulaError {
  return membershipRaced(`${endpoint} has been given the newest secret of pool ${pool} again`);
}

/** The error for input that is no record. @param why what is wrong with it, a sentence without its full stop */
export function membershipInvalid(why: string, hint?: string): FulaError {
  return new FulaError("FULA_MEMBERSHIP_INVALID", `${why}.`, hint === undefined ? {} : { hint });
}

/** The error for a change that would leave nobody who could undo it. */
export function lastAdmin(id: string): FulaError {
  return new FulaError("FULA_MEMBERSHIP_LAST_ADMIN", `${id} is the last active admin.`, {
    hint: "make somebody else an admin first: fula-master membership operator add <id> --role admin",
    details: { id },
  });
}
