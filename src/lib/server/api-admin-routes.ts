import { parseUnits } from "../billing/money.ts";
import { resolveUserId } from "../identity/user-id.ts";
import { type ApiApp, describeRoute, operatorOf } from "./api-app.ts";
import {
  adjustBodySchema,
  adjustedSchema,
  moneyOf,
  numberOrNull,
  scanBodySchema,
  scannedSchema,
  suspendedQuerySchema,
  suspendedSchema,
  unsuspendBodySchema,
  unsuspendedSchema,
} from "./api-schemas.ts";
import type { ApiServices } from "./api-services.ts";

function addAdjustRoute(app: ApiApp, services: ApiServices): void {
  app.route({
    method: "POST",
    url: "/api/admin/adjust",
    config: { access: "admin" },
    schema: {
      ...describeRoute("admin", "admin", "Corrects a balance, once a key.", { 200: adjustedSchema }, [404, 409]),
      body: adjustBodySchema,
    },
    handler: async (request) => {
      const { user, amount, reason, key, create } = request.body;
      const userId = resolveUserId(user);
      const outcome = await services.adjust({
        userId,
        amountUnits: parseUnits(String(amount)),
        reason,
        operator: operatorOf(request),
        key: key ?? null,
        create,
      });
      const balance = moneyOf(outcome.balanceUnits);
      return {
        success: true as const,
        userId,
        entryId: Number(outcome.entryId),
        key: outcome.key,
        applied: outcome.applied,
        balanceFula: balance.number,
        balance: balance.text,
      };
    },
  });
}

function addSuspensionRoutes(app: ApiApp, services: ApiServices): void {
  app.route({
    method: "POST",
    url: "/api/admin/unsuspend",
    config: { access: "admin" },
    schema: {
      ...describeRoute(
        "admin",
        "admin",
        "Lifts a suspension; the next fee may suspend again.",
        { 200: unsuspendedSchema },
        [404],
      ),
      body: unsuspendBodySchema,
    },
    handler: async (request) => {
      const { user, reason } = request.body;
      const userId = resolveUserId(user);
      const changed = await services.unsuspend({ userId, reason, operator: operatorOf(request) });
      return { success: true as const, userId, changed };
    },
  });
  app.route({
    method: "GET",
    url: "/api/admin/suspended",
    config: { access: "admin" },
    schema: {
      ...describeRoute("admin", "admin", "Suspended accounts, the longest first.", { 200: suspendedSchema }),
      querystring: suspendedQuerySchema,
    },
    handler: async (request) => {
      const { accounts, total } = await services.listSuspended(request.query.limit);
      const users = accounts.map(({ userId, balanceUnits, storedBytes, suspendedAt }) => {
        const balance = moneyOf(balanceUnits);
        return {
          userId,
          balanceFula: balance.number,
          balance: balance.text,
          currentStorageBytes: Number(storedBytes),
          suspendedAt: suspendedAt?.toISOString() ?? null,
        };
      });
      return { users, total };
    },
  });
}

function addScanRoute(app: ApiApp, services: ApiServices): void {
  app.route({
    method: "POST",
    url: "/api/admin/scan-blocks",
    config: { access: "admin" },
    schema: {
      ...describeRoute("admin", "admin", "Looks for deposits now.", { 200: scannedSchema }, [409]),
      body: scanBodySchema,
    },
    handler: async (request) => {
      const { chainId, blocks = [] } = request.body;
      const reread =
        blocks.length === 0 ? {} : { rereadFrom: BigInt(Math.min(...blocks)), rereadTo: BigInt(Math.max(...blocks)) };
      const { chains } = await services.scan({ chainId, ...reread });
      return {
        chains: chains.map((chain) => ({
          chainId: chain.chainId,
          name: chain.name,
          state: chain.state,
          head: numberOrNull(chain.head),
          scannedBlock: numberOrNull(chain.scannedBlock),
          found: chain.found,
          credited: chain.credited,
          creditedFula: moneyOf(chain.creditedUnits).text,
          problem: chain.problem,
        })),
      };
    },
  });
}

/** Routes for the system key and for administrators. */
export function addAdminRoutes(app: ApiApp, services: ApiServices): void {
  addAdjustRoute(app, services);
  addSuspensionRoutes(app, services);
  addScanRoute(app, services);
}
