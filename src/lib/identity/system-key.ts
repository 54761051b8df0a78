import type { Secret } from "../kernel/secret.ts";
import { equalsSecretly } from "./signature.ts";

/** What `X-System-Key` says about who sends a request. */
export type SystemKeyVerdict = "absent" | "valid" | "wrong";

/** Judges an `X-System-Key` in constant time by the keys that count. Without a SYSTEM_KEY of our own, every key is wrong. */
export function judgeSystemKey(header: string | undefined, systemKeys: readonly Secret[]): SystemKeyVerdict {
  if (header === undefined) return "absent";
  return systemKeys.some((key) => key.reveal() !== "" && equalsSecretly(header, key.reveal())) ? "valid" : "wrong";
}
