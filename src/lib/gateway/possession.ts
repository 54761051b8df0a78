import { createHmac, timingSafeEqual } from "node:crypto";
import type { CID } from "multiformats/cid";
import type { Clock } from "../kernel/clock.ts";
import type { Random } from "../kernel/random.ts";

/** What accounts have sent to storage nodes, whose bytes no object refers to yet. */
export interface Leases {
  /** Whether the account has a lease on a block, and whether its bytes still count as leased; null where it has none. */
  readonly find: (userId: string, cid: CID) => Promise<{ readonly isMapped: boolean } | null>;
  /** Notes that an object refers to the block; never rejects. */
  readonly release: (userId: string, cid: CID) => Promise<void>;
}

/** Lets a user prove that he has a block, not just its name. */
export interface Possession {
  /** A text that the proof must be made with; for this user, this block and the next minutes alone. */
  challenge(userId: string, cid: CID): string;
  /** True for a challenge of ours that still holds. */
  holds(challenge: string, userId: string, cid: CID): boolean;
}

const SECRET_BYTES = 32;
const TIME_BYTES = 8;
/** Long enough to read a block from a slow disk, far too short to ask somebody for it by letter. */
const CHALLENGE_MS = 300_000;

/**
 * Makes challenges that nothing has to be stored of: the time, signed with a secret of this process. One that another
 * master or an earlier run gave does not hold, and its sender gets a new one.
 */
export function createPossession(random: Random, clock: Clock): Possession {
  const secret = random.bytes(SECRET_BYTES);
  const render = (time: Buffer, userId: string, cid: CID): string => {
    const signature = createHmac("sha256", secret).update(time).update(cid.bytes).update(userId).digest();
    return Buffer.concat([time, signature]).toString("base64url");
  };
  return {
    challenge: (userId, cid) => {
      const time = Buffer.alloc(TIME_BYTES);
      time.writeBigUInt64BE(BigInt(Math.trunc(clock.nowMs())));
      return render(time, userId, cid);
    },
    holds: (challenge, userId, cid) => {
      const time = Buffer.from(challenge, "base64url").subarray(0, TIME_BYTES);
      if (time.byteLength < TIME_BYTES || !equalTexts(render(time, userId, cid), challenge)) return false;
      return clock.nowMs() - Number(time.readBigUInt64BE()) <= CHALLENGE_MS;
    },
  };
}

/** True where a proof is the HMAC-SHA256 of the block, in hex, with the challenge's text as its key. */
export function provesBlock(proof: string, challenge: string, block: Uint8Array): boolean {
  return equalTexts(createHmac("sha256", challenge).update(block).digest("hex"), proof.toLowerCase());
}

function equalTexts(one: string, other: string): boolean {
  const [a, b] = [Buffer.from(one), Buffer.from(other)];
  return a.byteLength === b.byteLength && timingSafeEqual(a, b);
}
