import {
  GATEWAY_PIN_METADATA,
  isGatewayPin,
  isPinningPin,
  madeToHold,
  PINNING_PIN_METADATA,
} from "../cluster/pin-source.ts";
import { makePin, type Pin, type PinCluster } from "../cluster/pins.ts";
import { type Clock, formatUtc } from "../kernel/clock.ts";
import { isFulaError } from "../kernel/errors.ts";

/** What placing pins needs. */
export interface PlaceParts {
  readonly pins: Pick<PinCluster, "pin" | "put" | "defaultFactors">;
  /** Puts contents on the queue of the buckets' collector; waits for a collector that is letting go of one of them. */
  readonly announce: (cids: readonly string[]) => Promise<unknown>;
  readonly clock: Clock;
}

/** A pin as users want it. */
export interface WantedPin {
  readonly cid: string;
  readonly name: string;
  readonly origins: readonly string[];
  /** The content that it takes the place of; null for none. */
  readonly replaces: string | null;
}

/** The cluster reads origins that end in a peer id, and refuses a whole pin for one that it cannot read. */
const ORIGIN = /^\/[!-+\--~]+\/p2p\/[A-Za-z0-9]+$/;
/** More do not fit into a request line of the cluster's. */
const ORIGINS_MAX = 20;

/**
 * Sees to it that the pinset has a pin that holds this content. One that is there stays whose it is: an operator's is
 * never taken over, and one of the gateway goes on being let go by the buckets' collector, which heeds what users want.
 * @returns the pin as it was there, or was put
 * @throws FulaError what the pinset and the ledger throw
 */
export async function placePin(parts: PlaceParts, wanted: WantedPin, signal: AbortSignal): Promise<Pin> {
  const { pins, announce } = parts;
  const present = await pins.pin(wanted.cid, signal);
  signal.throwIfAborted();
  if (present === null) return await makeNew(parts, wanted, signal);
  const holding = madeToHold(present, "recursive");
  if (isGatewayPin(present)) {
    // A collector may be letting go of it this moment, at another peer of the cluster: what is put after the announcement
    // stays.
    await announce([wanted.cid]);
    await pins.put(holding ?? present);
  } else if (holding !== null) {
    await pins.put(holding);
  }
  return holding ?? present;
}

async function makeNew(
  { pins, clock }: PlaceParts,
  { cid, name, origins, replaces }: WantedPin,
  signal: AbortSignal,
): Promise<Pin> {
  const pin = makePin(cid, formatUtc(clock.nowMs()), {
    ...pins.defaultFactors,
    name,
    origins: origins.filter((origin) => ORIGIN.test(origin)).slice(0, ORIGINS_MAX),
    metadata: PINNING_PIN_METADATA,
  });
  const old = replaces === null ? null : await pins.pin(replaces, signal);
  const options = old !== null && canUpdate(old, pin) ? { replaces: old.cid } : {};
  try {
    await pins.put(pin, options);
    return pin;
  } catch (error) {
    if (pin.origins.length === 0 || !isFulaError(error, "FULA_PIN_REFUSED")) throw error;
    // Where somebody says that it is found must not keep it from being looked for.
    const plain = { ...pin, origins: [] };
    await pins.put(plain, options);
    return plain;
  }
}

/** An update takes everything but the name from the old pin: only where that is what the new one is to have. */
function canUpdate(old: Pin, pin: Pin): boolean {
  return (
    isPinningPin(old) &&
    madeToHold(old, "recursive") === null &&
    old.replication_factor_min === pin.replication_factor_min &&
    old.replication_factor_max === pin.replication_factor_max &&
    pin.origins.every((origin) => old.origins.includes(origin)) &&
    (pin.name !== "" || old.name === "")
  );
}

/**
 * Hands a content that no user wants any more to the buckets' collector, which unpins it where no bucket needs it. To
 * unpin it here would take it from a bucket that found it pinned. An operator's pin stays.
 * @throws FulaError what the pinset and the ledger throw; all of it can be done again
 */
export async function handOverPin({ pins, announce }: PlaceParts, cid: string, signal: AbortSignal): Promise<void> {
  const present = await pins.pin(cid, signal);
  signal.throwIfAborted();
  if (present === null) return;
  if (isPinningPin(present)) {
    await pins.put({ ...present, metadata: { ...present.metadata, ...GATEWAY_PIN_METADATA } });
  } else if (!isGatewayPin(present)) {
    return;
  }
  await announce([cid]);
}
