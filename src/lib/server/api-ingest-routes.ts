import { z } from "zod";
import { NODE_PROOF_HEADER } from "../ingest/lease-proof.ts";
import { type ApiApp, callerOf, describeRoute } from "./api-app.ts";
import type { ApiServices } from "./api-services.ts";

/** Few enough for the largest body that the API reads. */
const BLOCKS_MAX = 64;
/** No IPFS peer takes a larger block. */
const BLOCK_BYTES_MAX = 2_097_152;

const leaseBodySchema = z.strictObject({
  node: z
    .string()
    .regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/)
    .meta({ description: "Name of the storage node that has the bytes." }),
  blocks: z
    .array(z.strictObject({ cid: z.string().regex(/^b[a-z2-7]{1,128}$/), bytes: z.int().min(1).max(BLOCK_BYTES_MAX) }))
    .max(BLOCKS_MAX)
    .refine((blocks) => new Set(blocks.map(({ cid }) => cid)).size === blocks.length, "names a CID twice")
    .meta({ description: "What the node took in; nothing to ask whether this caller may store." }),
});

const leasedSchema = z.object({
  userId: z
    .string()
    .regex(/^[0-9a-f]{64}$/)
    .meta({ description: "The account that pays." }),
  leftBytes: z.number().nullable().meta({ description: "What it may still store; null without end." }),
  credentialExpires: z.iso
    .datetime()
    .nullable()
    .meta({ description: "When the caller's credential ends; null for never." }),
  leasedUntil: z.iso
    .datetime()
    .nullable()
    .meta({ description: "How long the blocks count as this account's; null where none was named." }),
});

/** What storage nodes ask about those who send them blocks. */
export function addIngestRoutes(app: ApiApp, services: ApiServices): void {
  app.route({
    method: "POST",
    url: "/api/v1/ingest/leases",
    // A node asks once a block: its own limits are those that count.
    config: { access: "write", isUnlimited: true },
    schema: {
      ...describeRoute(
        "write",
        "ingest",
        "Whether the caller may store, and what a storage node took from him.",
        { 200: leasedSchema },
        [402],
      ),
      headers: z.looseObject({
        [NODE_PROOF_HEADER]: z
          .string()
          .optional()
          .meta({ description: "v1.<time>.<signature> under the cluster secret; only a storage node takes leases." }),
      }),
      body: leaseBodySchema,
    },
    handler: async (request) => {
      const caller = callerOf(request);
      const { userId, leftBytes, leasedUntil } = await services.leaseBlocks({
        userId: caller.userId,
        question: request.body,
        authorization: request.headers.authorization ?? "",
        proof: request.headers[NODE_PROOF_HEADER] ?? "",
      });
      const { expiresMs } = caller.credential;
      return {
        userId,
        leftBytes: leftBytes === null ? null : Number(leftBytes),
        credentialExpires: expiresMs === null ? null : new Date(expiresMs).toISOString(),
        leasedUntil: leasedUntil?.toISOString() ?? null,
      };
    },
  });
}
