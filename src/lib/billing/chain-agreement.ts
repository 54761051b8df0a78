import type { Chain } from "../config/chain-settings.ts";
import { FulaError, messageOf } from "../kernel/errors.ts";
import { type Block, type RpcDeps, RpcEndpoint, RpcError } from "./rpc.ts";

/** From so many endpoints on, two must say the same before it counts. */
const AGREEING_MIN = 2;

/** The endpoints of a chain that answer and are on it, the preferred one first. */
export interface Endpoints {
  readonly chain: Chain;
  readonly usable: readonly RpcEndpoint[];
  /** How many must say the same: two, or one where the settings name one. */
  readonly needed: number;
  /** The highest block that as many as are needed claim to have. */
  readonly head: bigint;
  /** What is wrong with the others. */
  readonly problems: readonly string[];
}

async function openOne(chain: Chain, endpoint: RpcEndpoint): Promise<Block | string> {
  try {
    const [chainId, latest] = await Promise.all([endpoint.chainId(), endpoint.latest()]);
    if (chainId === BigInt(chain.chainId)) return latest;
    return `${endpoint.label} is on chain ${chainId}, not on ${chain.name} (${chain.chainId})`;
  } catch (error) {
    if (error instanceof RpcError) return error.message;
    throw error;
  }
}

/**
 * Asks every endpoint of a chain where it is.
 * @throws FulaError FULA_RPC_UNREACHABLE where none can be used; the signal's reason
 */
export async function openEndpoints(chain: Chain, deps: RpcDeps): Promise<Endpoints> {
  const all = chain.rpcUrls.map((url) => new RpcEndpoint(url, deps));
  const answers = await Promise.all(
    all.map(async (endpoint) => ({ endpoint, answer: await openOne(chain, endpoint) })),
  );
  const usable: RpcEndpoint[] = [];
  const heads: bigint[] = [];
  const problems: string[] = [];
  for (const { endpoint, answer } of answers) {
    if (typeof answer === "string") {
      problems.push(answer);
    } else {
      usable.push(endpoint);
      heads.push(answer.number);
    }
  }
  if (usable.length === 0) {
    throw new FulaError("FULA_RPC_UNREACHABLE", `No endpoint of ${chain.name} can be used: ${problems.join("; ")}.`, {
      hint: `look at chains.${chain.name}.rpcUrls; what came in meanwhile is found when one answers again.`,
      details: { chainId: chain.chainId },
    });
  }
  const needed = Math.min(AGREEING_MIN, all.length);
  // What one endpoint alone claims above the others is not looked at: it may lie.
  const head = heads.toSorted((a, b) => (a < b ? 1 : -1))[Math.min(needed, heads.length) - 1] ?? 0n;
  return { chain, usable, needed, head, problems };
}

/** True where enough endpoints answer for anything to be settled. */
export function canAgree({ usable, needed }: Endpoints): boolean {
  return usable.length >= needed;
}

/**
 * Asks one endpoint after another until as many as are needed gave the same answer.
 * @param digest what must be the same
 * @throws FulaError FULA_RPC_DISAGREE where they do not, FULA_RPC_UNREACHABLE where none answers; the signal's reason
 */
export async function agree<T>(
  { chain, usable, needed }: Endpoints,
  what: string,
  ask: (endpoint: RpcEndpoint) => Promise<T>,
  digest: (answer: T) => string,
): Promise<T> {
  const answers = new Map<string, { readonly answer: T; readonly from: string[] }>();
  const problems: string[] = [];
  for (const endpoint of usable) {
    try {
      const answer = await ask(endpoint);
      const same = answers.get(digest(answer)) ?? { answer, from: [] };
      same.from.push(endpoint.label);
      if (same.from.length >= needed) return same.answer;
      answers.set(digest(answer), same);
    } catch (error) {
      if (!(error instanceof RpcError)) throw error;
      problems.push(messageOf(error));
    }
  }
  if (answers.size === 0) {
    throw new FulaError("FULA_RPC_UNREACHABLE", `${chain.name} does not tell ${what}: ${problems.join("; ")}.`, {
      hint: "nothing was credited, and nothing is passed over; it is tried again.",
      details: { chainId: chain.chainId },
    });
  }
  const groups = [...answers.values()].map(({ from }) => from.join(" and "));
  const differ = groups.length > 1 ? [`${groups.join(", ")} say different things`] : [];
  const lonely = groups.length === 1 ? [`only ${groups[0]} answers, of ${needed} that are needed`] : [];
  throw new FulaError(
    "FULA_RPC_DISAGREE",
    `The endpoints of ${chain.name} do not agree on ${what}: ${[...differ, ...lonely, ...problems].join("; ")}.`,
    {
      hint: "nothing was credited; it is tried again. An endpoint that stays behind or lies is to be replaced in the settings.",
      details: { chainId: chain.chainId, differ: groups.length > 1 },
    },
  );
}
