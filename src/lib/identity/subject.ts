import { createHash } from "node:crypto";
import { ownerIdOf, resolveUserId } from "./user-id.ts";

/** Who is meant by a credential: a user of the ledger, or a wallet that signs for itself. */
export type Subject =
  | {
      readonly kind: "user";
      /** 64 hex digits. */
      readonly userId: string;
    }
  | {
      readonly kind: "wallet";
      /** `0x` and 40 hex digits, lower case. */
      readonly wallet: string;
    };

const WALLET = /^0x[0-9a-f]{40}$/;

/** Whether a text is the address of a wallet, in whatever case. */
export function isWalletAddress(text: string): boolean {
  return WALLET.test(text.toLowerCase());
}

/**
 * Reads the fleet's text of a subject, as `sub` of a token has it: an e-mail address, a user id, or a wallet.
 * @throws FulaError FULA_USER_INVALID
 */
export function parseSubject(text: string): Subject {
  if (!isWalletAddress(text)) return { kind: "user", userId: resolveUserId(text) };
  return { kind: "wallet", wallet: text.toLowerCase() };
}

/** The fleet's text of a subject: what its gateway takes for the user id. */
export function subjectText(subject: Subject): string {
  return subject.kind === "wallet" ? subject.wallet : subject.userId;
}

/** Owner of buckets, 32 hex digits. A wallet keeps its buckets whatever account pays for them. */
export function ownerOfSubject(subject: Subject): string {
  return ownerIdOf(subjectText(subject));
}

/**
 * The account of a wallet that is linked to no other one: the fleet's hash of its address, so that nobody who stores
 * anything is without an account.
 * @param wallet `0x` and 40 hex digits, lower case
 */
export function ownAccountOf(wallet: string): string {
  return createHash("sha256").update(wallet, "utf8").digest("hex");
}
