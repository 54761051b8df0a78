import type { KuboNetwork } from "../blocks/kubo-network.ts";

/** A node that can be reached answers within a second or two; the others are not waited for. */
const DIAL_MAX_MS = 5_000;
/** As many as a request may name. */
const ORIGINS_MAX = 20;

/**
 * Connects our node with those that a user said have the content. What does not answer, or is no address, is left alone:
 * peers look for the content elsewhere too.
 * @throws the signal's reason
 */
export async function dialOrigins(
  kubo: Pick<KuboNetwork, "dial">,
  origins: readonly string[],
  signal: AbortSignal,
): Promise<void> {
  const stop = AbortSignal.any([signal, AbortSignal.timeout(DIAL_MAX_MS)]);
  await Promise.all(origins.slice(0, ORIGINS_MAX).map(async (origin) => await kubo.dial(origin, stop)));
  signal.throwIfAborted();
}
