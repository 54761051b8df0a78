import type { Secret } from "../kernel/secret.ts";
import { equalsSecretly } from "./signature.ts";

/** What `X-System-Key` says about who sends a request. */
export type SystemKeyVerdict = "absent" | "valid" | "wrong";

/** Judges an `X-System-Key` in constant time. Without a SYSTEM_KEY of our own, every key is wrong. */
export function judgeSystemKey(header: string | undefined, systemKey: Secret | null): SystemKeyVerdict {
  if (header === undefined) return "absent";
  const own = systemKey?.reveal() ?? "";
  return own !== "" && equalsSecretly(header, own) ? "valid" : "wrong";
}
