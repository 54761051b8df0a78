import { agree, openEndpoints } from "../billing/chain-agreement.ts";
import type { Fetch } from "../billing/rpc.ts";
import { chainsOf } from "../config/chain-settings.ts";
import type { Config } from "../config/schema.ts";
import type { Verifier } from "../identity/bearer.ts";
import { eip712Verifier } from "../identity/bearer-eip712.ts";
import { type CallContract, contractChecker } from "../identity/contract-wallet.ts";
import { audiencesOf, type TokenVersion } from "../identity/eip712/claims.ts";
import { createRateLimit } from "../identity/rate-limit.ts";
import type { WalletTokenRules } from "../identity/eip712/verify.ts";
import type { Clock } from "../kernel/clock.ts";
import { answerWithin } from "../kernel/deadline.ts";
import { FulaError, isFulaError } from "../kernel/errors.ts";

const VERSIONS: Readonly<Record<Config["identity"]["eip712"], readonly TokenVersion[]>> = {
  off: [],
  v2: [2],
  all: [1, 2],
};
/** Tokens whose signature is looked at, of one address: that many at once, and that many a second. A proxy is one address. */
const OF_ADDRESS = { burst: 200, perSecond: 20 };
/** The same of all addresses: a third of a core. */
const OF_ALL = { burst: 400, perSecond: 200 };
/** A request waits for a contract's answer no longer. */
const CONTRACT_MS = 10_000;

/** Which wallet tokens this node takes; none for it alone or its federation where it belongs to none yet. */
export function walletTokenRules(config: Config): WalletTokenRules {
  const { clusterId, name } = config.node;
  const chains = chainsOf(config).map(({ chainId }) => chainId);
  return {
    versions: new Set(VERSIONS[config.identity.eip712]),
    audiences: new Set(clusterId === null ? [] : audiencesOf(clusterId, name)),
    chainIds: new Set([...config.identity.eip712ChainIds, ...chains]),
  };
}

function unchecked(message: string, cause?: unknown): FulaError {
  return new FulaError("FULA_WALLET_UNCHECKED", message, {
    hint: "try again later; fula-master billing chains tells which endpoints answer.",
    ...(cause === undefined ? {} : { cause }),
  });
}

/** Calls contracts at the endpoints of the settings; where a chain has several, two have to say the same. */
function contractCalls(config: Config, deps: { readonly clock: Clock; readonly fetch: Fetch }): CallContract {
  const chains = new Map(
    chainsOf(config)
      .filter(({ rpcUrls }) => rpcUrls.length > 0)
      .map((chain) => [chain.chainId, chain]),
  );
  return async ({ chainId, to, data }) => {
    const chain = chains.get(chainId);
    if (chain === undefined) return null;
    const gaveUp = new AbortController();
    const ask = async (): Promise<string> => {
      const endpoints = await openEndpoints(chain, { ...deps, signal: gaveUp.signal });
      const what = `whether the contract ${to} knows a signature`;
      return await agree(
        endpoints,
        what,
        async (endpoint) => await endpoint.callContract(to, data),
        (returned) => returned,
      );
    };
    try {
      const answer = await answerWithin(deps.clock, CONTRACT_MS, ask());
      if (answer !== null) return answer.value;
      throw unchecked(
        `The contract ${to} on ${chain.name} gave no answer about a signature in ${CONTRACT_MS / 1_000} s.`,
      );
    } catch (error) {
      if (!isFulaError(error) || error.code === "FULA_WALLET_UNCHECKED") throw error;
      throw unchecked(
        `The contract ${to} on ${chain.name} could not be asked about a signature: ${error.message}`,
        error,
      );
    } finally {
      gaveUp.abort();
    }
  };
}

/** Makes the verifier of wallet tokens as the settings want it; where they are off it refuses them by their name. */
export function walletTokenVerifier(config: Config, deps: { readonly clock: Clock; readonly fetch: Fetch }): Verifier {
  const { clock } = deps;
  const askContract = contractChecker(contractCalls(config, deps), clock);
  const ofAddress = createRateLimit(OF_ADDRESS, clock);
  const ofAll = createRateLimit(OF_ALL, clock);
  const pace = (address: string): boolean => ofAddress.take(address) === null && ofAll.take("") === null;
  return eip712Verifier({ rules: walletTokenRules(config), clock, askContract, pace });
}
