import type { AccountView } from "../billing/account-view.ts";
import { type HistoryEntry, HISTORY_LIMIT_MAX } from "../billing/credit-history.ts";
import type { ClaimOutcome } from "../billing/claim.ts";
import type { Caller } from "../identity/bearer.ts";
import { type ApiApp, callerOf, describeRoute } from "./api-app.ts";
import {
  claimedSchema,
  claimSchema,
  creditsSchema,
  historyQuerySchema,
  historySchema,
  moneyOf,
  numberOrNull,
  pricingSchema,
  storageSchema,
  userSchema,
} from "./api-schemas.ts";
import type { ApiServices } from "./api-services.ts";

const BYTES_PER_GIB = 2 ** 30;
const HOURS_PER_MONTH = 720;

function storageOf(view: AccountView): (typeof storageSchema)["_output"] {
  const balance = moneyOf(view.balanceUnits);
  const burn = moneyOf(view.monthlyBurnUnits);
  return {
    currentStorageBytes: Number(view.storedBytes),
    freeTierBytes: Number(view.freeTierBytes),
    paidStorageBytes: numberOrNull(view.paidBytes),
    totalAvailableBytes: numberOrNull(view.availableBytes),
    balanceFula: balance.number,
    monthlyBurnRate: burn.number,
    isConsuming: view.isConsuming,
    canUpload: view.canUpload,
    isSuspended: view.isSuspended,
    balance: balance.text,
    monthlyBurn: burn.text,
  };
}

/** One sentence for the user about the account. */
function explainAccount(view: AccountView): string {
  if (view.isSuspended) return "The account is suspended: its balance went below zero. A deposit lifts the suspension.";
  if (view.canUpload) return "Uploads are possible.";
  return "The free tier is used up and the balance is not above zero; a deposit makes uploads possible.";
}

function creditsOf(view: AccountView, email: string | null): (typeof creditsSchema)["_output"] {
  const balance = moneyOf(view.balanceUnits);
  return {
    email,
    balanceFula: balance.number,
    totalDeposited: moneyOf(view.totalDepositedUnits).number,
    totalDeducted: moneyOf(view.totalDeductedUnits).number,
    totalBonusReceived: moneyOf(view.totalBonusUnits).number,
    isSuspended: view.isSuspended,
    currentStorageBytes: Number(view.storedBytes),
    freeTierBytes: Number(view.freeTierBytes),
    canUpload: view.canUpload,
    message: explainAccount(view),
    balance: balance.text,
  };
}

/** References of the existing fleet name the administrator and why he did it, which is not for users. */
function referenceFor({ reference }: HistoryEntry): string | null {
  return reference?.startsWith("admin:") === true ? "admin" : reference;
}

function entryOf(entry: HistoryEntry): (typeof historySchema)["_output"]["history"][number] {
  const amount = moneyOf(entry.amountUnits);
  const balance = moneyOf(entry.balanceAfterUnits);
  return {
    id: Number(entry.entryId),
    txType: entry.type,
    amountFula: amount.number,
    balanceAfter: balance.number,
    referenceId: referenceFor(entry),
    createdAt: entry.createdAt?.toISOString() ?? null,
    usageBytes: numberOrNull(entry.usageBytes),
    amount: amount.text,
    balance: balance.text,
  };
}

function claimedOf(outcome: ClaimOutcome): (typeof claimedSchema)["_output"] {
  const credited = moneyOf(outcome.creditedUnits);
  return {
    success: outcome.creditedUnits > 0n,
    chainId: outcome.chainId,
    txHash: outcome.txHash,
    amountFula: credited.number,
    amount: credited.text,
    confirmations: Number(outcome.confirmations.have),
    confirmationsNeeded: outcome.confirmations.needed,
    deposits: outcome.deposits.map(({ logIndex, amountUnits, state }) => {
      const { number, text } = moneyOf(amountUnits);
      return { logIndex, amountFula: number, amount: text, state };
    }),
  };
}

/** Whether the control plane would let somebody act; false where nobody can be asked. */
type IsOperator = (caller: Caller) => Promise<boolean>;

function addAccountRoutes(app: ApiApp, services: ApiServices, isOperator: IsOperator): void {
  app.route({
    method: "GET",
    url: "/api/v1/storage",
    // Gateways ask it for each object, and the fleet's take any refusal for a yes: a limit would open uploads to whoever
    // is out of credit and asks often enough.
    config: { access: "read", isUnlimited: true },
    schema: describeRoute("read", "account", "What the account stores, and whether it may upload.", {
      200: storageSchema,
    }),
    handler: async (request) => storageOf(await services.readAccount(callerOf(request).userId)),
  });
  for (const url of ["/api/v1/credits", "/api/credits"]) {
    app.route({
      method: "GET",
      url,
      config: { access: "read" },
      schema: describeRoute("read", "credits", "Balance and totals of the account.", { 200: creditsSchema }),
      handler: async (request) => {
        const { userId } = callerOf(request);
        const [view, user] = await Promise.all([services.readAccount(userId), services.readUser(userId)]);
        return creditsOf(view, user.email);
      },
    });
  }
  app.route({
    method: "GET",
    url: "/api/v1/userinfo",
    config: { access: "read" },
    schema: describeRoute("read", "account", "Who the caller is.", { 200: userSchema }),
    handler: async (request) => {
      const caller = callerOf(request);
      const { userId } = caller;
      const [user, isAdmin] = await Promise.all([services.readUser(userId), isOperator(caller)]);
      return { userId, ...user, isAdmin };
    },
  });
}

function addHistoryRoutes(app: ApiApp, services: ApiServices): void {
  for (const url of ["/api/v1/credits/history", "/api/credits/history"]) {
    app.route({
      method: "GET",
      url,
      config: { access: "read" },
      schema: {
        ...describeRoute("read", "credits", "Entries of the account, newest first.", { 200: historySchema }),
        querystring: historyQuerySchema,
      },
      handler: async (request) => {
        const { page, limit, cursor } = request.query;
        const found = await services.readHistory(callerOf(request).userId, {
          page,
          limit: Math.min(limit, HISTORY_LIMIT_MAX),
          cursor: cursor ?? null,
        });
        return { ...found, history: found.entries.map(entryOf) };
      },
    });
  }
}

function addClaimRoutes(app: ApiApp, services: ApiServices): void {
  for (const url of ["/api/v1/credits/claim", "/api/credits/claim"]) {
    app.route({
      method: "POST",
      url,
      config: { access: "write" },
      schema: {
        ...describeRoute(
          "write",
          "credits",
          "Credits the deposits of a transaction that came from a wallet of the caller.",
          { 200: claimedSchema, 202: claimedSchema },
          [404, 409],
        ),
        body: claimSchema,
      },
      handler: async (request, reply) => {
        const { txHash, chainId } = request.body;
        const { userId } = callerOf(request);
        const outcome = await services.claimDeposit({ userId, txHash, chainId: chainId ?? null });
        // Nothing was credited and nothing is wrong: it waits for its confirmations.
        if (outcome.creditedUnits === 0n) reply.code(202);
        return claimedOf(outcome);
      },
    });
  }
}

function addPricingRoutes(app: ApiApp, services: ApiServices): void {
  for (const url of ["/api/v1/credits/pricing", "/api/credits/pricing"]) {
    app.route({
      method: "GET",
      url,
      config: { access: "public" },
      schema: describeRoute("public", "credits", "What storage costs, and where deposits are taken.", {
        200: pricingSchema,
      }),
      handler: async () => {
        await Promise.resolve();
        const { freeTierBytes, monthlyUnitsPerGib, chains } = services.pricing();
        const price = moneyOf(monthlyUnitsPerGib);
        return {
          freeTierBytes: Number(freeTierBytes),
          fulaPerGbMonth: price.number,
          hoursPerMonth: HOURS_PER_MONTH,
          bytesPerGb: BYTES_PER_GIB,
          price: price.text,
          chains: chains.map((chain) => ({ ...chain })),
        };
      },
    });
  }
}

/** Routes about accounts and their credits. */
export function addCreditRoutes(app: ApiApp, services: ApiServices, isOperator: IsOperator): void {
  addAccountRoutes(app, services, isOperator);
  addHistoryRoutes(app, services);
  addClaimRoutes(app, services);
  addPricingRoutes(app, services);
}
