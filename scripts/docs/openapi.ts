import { systemClock } from "../../src/lib/kernel/clock.ts";
import { silentLog } from "../../src/lib/kernel/log.ts";
import { createApiListener } from "../../src/lib/server/api-listener.ts";
import type { ApiServices } from "../../src/lib/server/api-services.ts";

function unused(): never {
  throw new Error("Rendering the document calls no route");
}

const SERVICES: ApiServices = {
  pins: { list: unused, read: unused, request: unused, replace: unused, remove: unused },
  readAccount: unused,
  readUser: unused,
  readHistory: unused,
  claimDeposit: unused,
  pricing: unused,
  listWallets: unused,
  issueChallenge: unused,
  linkWallet: unused,
  unlinkWallet: unused,
  adjust: unused,
  unsuspend: unused,
  listSuspended: unused,
  leaseBlocks: unused,
  denials: { deny: unused, lift: unused, list: unused, signOut: unused },
  credentials: { listKeys: unused, createKey: unused, revokeKey: unused, issueSession: unused },
  scan: unused,
};

/** Renders docs/openapi.json: what `GET /openapi.json` serves. */
export async function renderOpenApiDoc(): Promise<string> {
  const { app } = await createApiListener({
    services: SERVICES,
    access: {
      identities: { identify: unused, admit: unused },
      systemKeys: [],
      authorize: unused,
      onRefused: unused,
      requestsPerMinute: 1,
    },
    trustedProxies: [],
    metrics: { requestStarted: unused, requestFinished: unused },
    clock: systemClock,
    log: silentLog,
    onClose: () => {},
  });
  const text = JSON.stringify(app.swagger(), null, 2);
  await app.close();
  return `${text}\n`;
}
