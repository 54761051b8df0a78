import { readAccount } from "../billing/account-view.ts";
import { billingSwitch } from "../billing/billing-switch.ts";
import { policyOf } from "../billing/policy.ts";
import type { Config } from "../config/schema.ts";
import type { Random } from "../kernel/random.ts";
import { findBlocked } from "../pinning/blocked.ts";
import { contentKey } from "../pinning/content-key.ts";
import type { Delegates } from "../pinning/delegates.ts";
import { checkPinFilter, type RawPinFilter } from "../pinning/pin-filter.ts";
import { findPin, listPins } from "../pinning/pin-list.ts";
import type { PinRecord } from "../pinning/pin-record.ts";
import { removePin, replacePin, requestPin } from "../pinning/pin-request.ts";
import { type PinStatusView, viewPin } from "../pinning/pin-view.ts";
import { checkPinWish, type PinWish, type RawPinWish } from "../pinning/pin-wish.ts";
import type { Pool } from "../postgres/pool.ts";
import { ApiError } from "./api-errors.ts";

/** The Pinning Service API for accounts, behind its routes. User ids are accounts. */
export interface PinService {
  list(userId: string, filter: RawPinFilter): Promise<{ readonly count: number; readonly results: PinStatusView[] }>;
  /** @throws ApiError 404, also for another user's request */
  read(userId: string, requestId: string): Promise<PinStatusView>;
  /** @throws ApiError 402 where the account may not store, 451 where the content is blocked */
  request(userId: string, wish: RawPinWish): Promise<{ readonly isNew: boolean; readonly view: PinStatusView }>;
  /** @throws ApiError as `request` and `read` do */
  replace(userId: string, requestId: string, wish: RawPinWish): Promise<PinStatusView>;
  /** @throws ApiError 404 */
  remove(userId: string, requestId: string): Promise<void>;
}

/** What it stands on. */
export interface PinServiceDeps {
  readonly pool: Pool;
  readonly delegates: Delegates;
  readonly random: Random;
}

function notFound(): ApiError {
  return new ApiError(404, "NOT_FOUND", "There is no such request among those of this account.");
}

// Whoever cannot be asked has not said yes: what the ledger throws goes to the client as 503.
async function assertMayStore({ billing, gateway }: Config, pool: Pool, userId: string): Promise<void> {
  if (gateway.quota === "off" || !billingSwitch(billing).isOn) return;
  const { canUpload } = await readAccount(pool, userId, policyOf(billing));
  if (canUpload) return;
  const details = "The account is suspended, or its free tier is used up and its balance is not above zero.";
  throw new ApiError(402, "INSUFFICIENT_CREDITS", details);
}

async function assertNotBlocked(pool: Pool, { cid }: PinWish): Promise<void> {
  if (!(await findBlocked(pool, cid))) return;
  throw new ApiError(
    451,
    "UNAVAILABLE_FOR_LEGAL_REASONS",
    "The operators of this federation have blocked this content.",
  );
}

function isContentOf({ cid }: PinRecord, content: string): boolean {
  try {
    return contentKey(cid) === content;
  } catch {
    return false;
  }
}

/** Puts it together. */
export function createPinService(config: Config, { pool, delegates, random }: PinServiceDeps): PinService {
  const found = async (userId: string, requestId: string): Promise<PinRecord> => {
    const record = await findPin(pool, userId, requestId);
    if (record === null) throw notFound();
    return record;
  };
  const admit = async (userId: string, wish: PinWish): Promise<void> => {
    await assertNotBlocked(pool, wish);
    await assertMayStore(config, pool, userId);
  };
  return {
    list: async (userId, raw) => {
      const filter = checkPinFilter(raw);
      const [{ count, records }, addresses] = await Promise.all([listPins(pool, userId, filter), delegates.read()]);
      return { count, results: records.map((record) => viewPin(record, addresses)) };
    },
    read: async (userId, requestId) => viewPin(await found(userId, requestId), await delegates.read()),
    request: async (userId, raw) => {
      const wish = checkPinWish(raw);
      await admit(userId, wish);
      const addresses = await delegates.read();
      const { isNew, record } = await requestPin(pool, { userId, delegates: addresses, random }, wish);
      return { isNew, view: viewPin(record, addresses) };
    },
    replace: async (userId, requestId, raw) => {
      const wish = checkPinWish(raw);
      // Another name for what is stored already takes no room.
      if (!isContentOf(await found(userId, requestId), wish.content)) await admit(userId, wish);
      const addresses = await delegates.read();
      const record = await replacePin(pool, { userId, delegates: addresses, random }, requestId, wish);
      if (record === null) throw notFound();
      return viewPin(record, addresses);
    },
    remove: async (userId, requestId) => {
      if (!(await removePin(pool, userId, requestId))) throw notFound();
    },
  };
}
