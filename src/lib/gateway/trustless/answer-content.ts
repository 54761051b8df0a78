import type { CID } from "multiformats/cid";
import type { BlockStore } from "../../blocks/block-store.ts";
import { carHeader, carSection } from "../../blocks/car.ts";
import type { NamedBlock } from "../../blocks/dag-blocks.ts";
import type { RawRequest } from "../../identity/raw-request.ts";
import { isFulaError } from "../../kernel/errors.ts";
import { judgeRead } from "../conditions.ts";
import type { Wire } from "../exchange.ts";
import { S3Error } from "../s3-error.ts";
import type { IsBlocked } from "./blocked-cids.ts";
import { carBlocks, type CarPlan, linksWithin, planScope } from "./car-blocks.ts";
import { contentHeaders, tagOf } from "./content-headers.ts";
import { type ContentRequest, readContentRequest } from "./content-request.ts";
import { type FollowedPath, followPath } from "./follow-path.ts";
import { ownBlocks } from "./own-blocks.ts";

/** Answers requests about contents, which need no key: who knows a CID can check what he gets. */
export interface TrustlessGateway {
  /**
   * @throws S3Error InvalidRequest, NotAcceptable, NoSuchContent, Gone, PreconditionFailed, SlowDown; FulaError where the
   *   ledger or the store cannot be asked
   */
  answer(raw: RawRequest, wire: Wire): Promise<void>;
}

/** What contents are answered from. */
export interface TrustlessParts {
  readonly blocks: Pick<BlockStore, "find">;
  readonly isBlocked: IsBlocked;
}

/** CAR files that are sent at the same time, to all clients: each remembers what it has sent. */
const CARS_AT_ONCE = 64;

interface Found extends FollowedPath {
  readonly terminusBlock: NamedBlock;
}

function unreadable(error: unknown): unknown {
  return isFulaError(error, "FULA_DAG_UNREADABLE") ? new S3Error("InvalidRequest", error.message) : error;
}

async function* carFile(plan: CarPlan): AsyncGenerator<Uint8Array> {
  yield carHeader([plan.terminus.cid]);
  try {
    for await (const { cid, bytes } of carBlocks(plan)) yield carSection(cid, bytes);
  } catch (error) {
    throw unreadable(error);
  }
}

class OwnContents implements TrustlessGateway {
  readonly #isBlocked: IsBlocked;
  readonly #read: (cid: CID) => Promise<Uint8Array>;
  #cars = 0;

  constructor({ blocks, isBlocked }: TrustlessParts) {
    this.#isBlocked = isBlocked;
    this.#read = ownBlocks(blocks);
  }

  async answer(raw: RawRequest, wire: Wire): Promise<void> {
    const request = readContentRequest(raw);
    const found = await this.#find(request);
    const { roots, terminus, terminusBlock } = found;
    const headers = contentHeaders(request, { path: raw.path, roots, terminus });
    // It has been what it is since ever.
    if (judgeRead(raw.headers, { etag: tagOf(request, terminus), modifiedMs: 0 }) === "not-modified") {
      const { etag = "", "cache-control": cacheControl = "" } = headers;
      wire.headOnly(304, { etag, "cache-control": cacheControl });
      return;
    }
    const isHead = raw.method === "HEAD";
    if (request.format.kind === "raw") {
      const { bytes } = terminusBlock;
      const sized = { ...headers, "content-length": bytes.byteLength };
      if (isHead) wire.headOnly(200, sized);
      else wire.bytes(200, sized, bytes);
      return;
    }
    const plan = await this.#plan(request, found, request.format.dups);
    if (isHead) wire.headOnly(200, headers);
    else await this.#sendCar(wire, headers, plan);
  }

  async #find({ root, segments, onlyIfCached }: ContentRequest): Promise<Found> {
    await this.#refuseBlocked([root]);
    try {
      const path = await followPath(root, segments, this.#read);
      await this.#refuseBlocked(path.roots.slice(1));
      const bytes = await this.#read(path.terminus);
      return { ...path, terminusBlock: { cid: path.terminus, bytes } };
    } catch (error) {
      if (!onlyIfCached || !(error instanceof S3Error) || error.code !== "NoSuchContent") throw error;
      throw new S3Error("PreconditionFailed", error.message);
    }
  }

  async #refuseBlocked(cids: readonly CID[]): Promise<void> {
    if (await this.#isBlocked(cids)) throw new S3Error("Gone", "This content is not given out here: it was blocked.");
  }

  async #plan(
    { scope, bytes }: ContentRequest,
    { way, terminusBlock: terminus }: Found,
    dups: boolean,
  ): Promise<CarPlan> {
    const refuseBlocked = async (cids: readonly CID[]): Promise<void> => {
      await this.#refuseBlocked(cids);
    };
    const plan = { way, terminus, dups, read: this.#read, refuseBlocked, ...planScope(scope, bytes, terminus) };
    // What cannot be walked at all, or not be given out, is to be told while there is still a way to tell it.
    let links: readonly CID[];
    try {
      links = plan.range === null ? linksWithin(plan.scope, terminus)(terminus.cid, terminus.bytes) : [];
    } catch (error) {
      throw unreadable(error);
    }
    await refuseBlocked(links);
    return plan;
  }

  async #sendCar(wire: Wire, headers: ReturnType<typeof contentHeaders>, plan: CarPlan): Promise<void> {
    if (this.#cars >= CARS_AT_ONCE) {
      throw new S3Error("SlowDown", "Too many CAR files are being sent; please try again.", {
        headers: { "retry-after": "1" },
      });
    }
    this.#cars += 1;
    try {
      await wire.stream(200, headers, carFile(plan));
    } finally {
      this.#cars -= 1;
    }
  }
}

/** Puts the trustless gateway together. */
export function createTrustlessGateway(parts: TrustlessParts): TrustlessGateway {
  return new OwnContents(parts);
}
