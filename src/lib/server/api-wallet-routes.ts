import type { Wallet } from "../billing/wallets.ts";
import { parseWalletAddress } from "../billing/wallet-message.ts";
import { type ApiApp, callerOf, describeRoute } from "./api-app.ts";
import {
  addressParamsSchema,
  challengeBodySchema,
  challengeSchema,
  linkBodySchema,
  linkedSchema,
  unlinkedSchema,
  type walletSchema,
  walletsSchema,
} from "./api-schemas.ts";
import type { ApiServices } from "./api-services.ts";

function walletOf({ address, addressHash, chainId, verified, connectedAt }: Wallet): (typeof walletSchema)["_output"] {
  return { address, addressHash, chainId, isVerified: verified, connectedAt };
}

function addListRoutes(app: ApiApp, services: ApiServices): void {
  for (const prefix of ["/api/v1/wallets", "/api/wallets"]) {
    app.route({
      method: "GET",
      url: prefix,
      config: { access: "read" },
      schema: describeRoute("read", "wallets", "The wallets of the account.", { 200: walletsSchema }),
      handler: async (request) => ({ wallets: (await services.listWallets(callerOf(request))).map(walletOf) }),
    });
    app.route({
      method: "DELETE",
      url: `${prefix}/:address`,
      config: { access: "write" },
      schema: {
        ...describeRoute("write", "wallets", "Takes a wallet off the account.", { 200: unlinkedSchema }, [404]),
        params: addressParamsSchema,
      },
      handler: async (request) => {
        const address = parseWalletAddress(request.params.address);
        return { success: true as const, removed: await services.unlinkWallet(callerOf(request), address) };
      },
    });
  }
}

function addChallengeRoutes(app: ApiApp, services: ApiServices): void {
  for (const url of ["/api/v1/wallets/challenge", "/api/wallets/challenge"]) {
    app.route({
      method: "POST",
      url,
      config: { access: "write" },
      schema: {
        ...describeRoute("write", "wallets", "The text that the wallet has to sign to be linked.", {
          200: challengeSchema,
        }),
        body: challengeBodySchema,
      },
      handler: async (request) => {
        const { address, chainId } = request.body;
        return await services.issueChallenge(callerOf(request), { address: parseWalletAddress(address), chainId });
      },
    });
  }
}

function addLinkRoutes(app: ApiApp, services: ApiServices): void {
  for (const url of ["/api/v1/wallets/link", "/api/wallets/connect"]) {
    app.route({
      method: "POST",
      url,
      config: { access: "write" },
      schema: {
        ...describeRoute("write", "wallets", "Links the wallet that signed.", { 200: linkedSchema }, [409]),
        body: linkBodySchema,
      },
      handler: async (request) => {
        const { address, walletAddress, chainId, message, signature } = request.body;
        const claim = { address: parseWalletAddress(address ?? walletAddress ?? ""), chainId };
        const wallet = await services.linkWallet(callerOf(request), claim, { message, signature });
        return { success: true as const, wallet: walletOf(wallet) };
      },
    });
  }
}

/** Routes about the wallets of an account. */
export function addWalletRoutes(app: ApiApp, services: ApiServices): void {
  addListRoutes(app, services);
  addChallengeRoutes(app, services);
  addLinkRoutes(app, services);
}
