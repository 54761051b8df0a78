import { parseCid } from "../blocks/cid.ts";
import { FulaError, messageOf } from "../kernel/errors.ts";
import { mapOrdered } from "../kernel/map-ordered.ts";
import { parsePin } from "./pin-schema.ts";
import type { ClusterPeer, Pin, PinCluster, PinStatus, PutOptions, ReplicationFactors, StatusOptions } from "./pins.ts";
import { errorMessageOf, type RestAnswer, RestConnection, type RestPatience } from "./rest-connection.ts";
import { pinQuery, storedForm } from "./rest-query.ts";
import { readGonePeers, readPeer, readPin, readStatus } from "./rest-records.ts";

/** What is needed to work with an IPFS Cluster. */
export interface RestClusterOptions {
  readonly clusterId: string;
  /** REST API of the peer that is asked: `http://host:port`, or https. */
  readonly url: string;
  readonly defaultFactors: ReplicationFactors;
  /** Default: one minute of silence, ten before a stream begins. */
  readonly patience?: RestPatience;
}

/** How many statuses of a listing are looked into at the same time. */
const LOOKS_AT_ONCE = 8;

/** The pinset of an IPFS Cluster, through the REST API of one of its peers (versions 1.0 and 1.1). */
export function openRestCluster(options: RestClusterOptions): PinCluster & AsyncDisposable {
  return new RestCluster(options);
}

class RestCluster implements PinCluster, AsyncDisposable {
  readonly clusterId: string;
  /** Pins come in the order of the peer's datastore, statuses in none. */
  readonly sorted = false;
  /**
   * The cluster chooses who holds a pin and dates it, forgets whom its maker had asked for, and sets references only
   * for what it has sharded itself.
   */
  readonly assignedFields = ["user_allocations", "allocations", "reference", "timestamp"] as const;
  readonly defaultFactors: ReplicationFactors;
  readonly #connection: RestConnection;

  constructor({ clusterId, url, defaultFactors, patience }: RestClusterOptions) {
    this.clusterId = clusterId;
    this.defaultFactors = defaultFactors;
    this.#connection = new RestConnection(url, patience);
  }

  async *pins(signal?: AbortSignal): AsyncGenerator<Pin> {
    yield* this.#list("/allocations?filter=all", readPin, signal);
  }

  /** The API has no count: only the list itself tells. */
  async count(signal?: AbortSignal): Promise<null> {
    signal?.throwIfAborted();
    return null;
  }

  async pin(cid: string, signal?: AbortSignal): Promise<Pin | null> {
    const path = `/allocations/${parseCid(cid).toString()}`;
    const answer = await this.#connection.ask("GET", path, signal);
    return answer.status === 404 ? null : this.#read(path, answer, readPin);
  }

  asStored(pin: Pin): Pin {
    const checked = parsePin(pin);
    return storedForm({ ...checked, cid: parseCid(checked.cid).toString() }, this.defaultFactors);
  }

  async put(pin: Pin, { replaces }: PutOptions = {}): Promise<void> {
    const stored = this.asStored(pin);
    if (stored.type !== "pin") {
      throw refused(
        stored.cid,
        `a ${stored.type} is made by the cluster itself, when it shards what is added to it`,
        null,
      );
    }
    const { cid } = stored;
    if (stored.origins.length > 0) await this.#assertOriginsUnderstood(stored);
    // The path that takes a bare CID makes every pin a recursive one, whatever mode is asked for.
    const path = stored.mode === "direct" ? `/pins/ipfs/${cid}` : `/pins/${cid}`;
    const update = replaces === undefined ? "" : `&pin-update=${parseCid(replaces).toString()}`;
    const answer = await this.#connection.ask("POST", `${path}?${pinQuery(stored)}${update}`);
    if (answer.status !== 200) throw this.#refusal(cid, answer);
  }

  async remove(cid: string): Promise<boolean> {
    const key = parseCid(cid).toString();
    const answer = await this.#connection.ask("DELETE", `/pins/${key}`);
    if (answer.status === 404) return false;
    if (answer.status !== 200) throw this.#refusal(key, answer);
    return true;
  }

  async *statuses({ deep = false, signal }: StatusOptions = {}): AsyncGenerator<PinStatus> {
    this.#assertShallow(deep);
    const listed = this.#list("/pins", readStatus, signal);
    yield* mapOrdered(listed, LOOKS_AT_ONCE, async (status) => this.#lookAgainAtDirect(status, signal));
  }

  async status(cid: string, { deep = false, signal }: StatusOptions = {}): Promise<PinStatus | null> {
    this.#assertShallow(deep);
    const path = `/pins/${parseCid(cid).toString()}`;
    // What is not pinned has a status as well, "unpinned" on every peer that knows of it.
    const [pin, answer] = await Promise.all([this.pin(cid, signal), this.#connection.ask("GET", path, signal)]);
    return pin === null ? null : this.#read(path, answer, readStatus);
  }

  async recover(cid: string): Promise<void> {
    const path = `/pins/${parseCid(cid).toString()}/recover`;
    this.#read(path, await this.#connection.ask("POST", path), readStatus);
  }

  async peers(signal?: AbortSignal): Promise<readonly ClusterPeer[]> {
    const self = this.#read("/id", await this.#connection.ask("GET", "/id", signal), (value) => readPeer(value, ""));
    const peers = new Map<string, ClusterPeer>();
    const listed = this.#list("/peers", (value) => readPeer(value, self.id), signal);
    for await (const peer of listed) peers.set(peer.id, peer);
    const alerts = await this.#connection.ask("GET", "/health/alerts", signal);
    for (const [id, since] of this.#read("/health/alerts", alerts, readGonePeers)) {
      if (!peers.has(id)) peers.set(id, gonePeer(id, since));
    }
    return [...peers.values()];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#connection[Symbol.dispose]();
  }

  /**
   * A listing calls every direct pin "unexpectedly_unpinned", because it asks Kubo for recursive pins alone; a look at
   * the single pin tells the truth.
   */
  async #lookAgainAtDirect(listed: PinStatus, signal: AbortSignal | undefined): Promise<PinStatus> {
    if (!listed.peers.some((peer) => peer.status === "unexpectedly_unpinned")) return listed;
    const pin = await this.pin(listed.cid, signal);
    if (pin?.mode !== "direct") return listed;
    return (await this.status(listed.cid, { signal })) ?? listed;
  }

  /**
   * Lets the peer read the origins in a request that changes nothing: a pin with one that it cannot read is answered
   * with an error, and made all the same, without what came after it.
   */
  async #assertOriginsUnderstood({ cid, origins }: Pin): Promise<void> {
    const query = new URLSearchParams({ origins: origins.join(",") }).toString();
    const answer = await this.#connection.ask("GET", `/allocations/${cid}?${query}`);
    if (answer.status === 400)
      throw refused(cid, `it does not understand its origins (${errorMessageOf(answer.body)})`, null);
  }

  async *#list<T>(path: string, read: (value: unknown) => T, signal: AbortSignal | undefined): AsyncGenerator<T> {
    for await (const line of this.#connection.lines(path, signal)) yield this.#parse(path, line, read);
  }

  #read<T>(path: string, answer: RestAnswer, read: (value: unknown) => T): T {
    if (answer.status !== 200) throw this.#connection.unexpected(path, answer);
    return this.#parse(path, answer.body, read);
  }

  #parse<T>(path: string, text: string, read: (value: unknown) => T): T {
    try {
      return read(JSON.parse(text));
    } catch (error) {
      const where = path.split("?", 1)[0] ?? path;
      throw new FulaError(
        "FULA_CLUSTER_UNREADABLE",
        `The IPFS Cluster peer at ${this.#connection.url} sent something on ${where} that is none of its records: ${messageOf(error)}`,
        {
          cause: error,
          hint: "see that cluster.api in fula-master.yaml is the REST API of an IPFS Cluster peer of version 1.x.",
          details: { url: this.#connection.url, path: where },
        },
      );
    }
  }

  #refusal(cid: string, { status, body }: RestAnswer): FulaError {
    const message = errorMessageOf(body);
    if (message.includes("follower mode")) {
      return new FulaError(
        "FULA_CLUSTER_READ_ONLY",
        `The IPFS Cluster peer at ${this.#connection.url} is a follower and may not change the pinset.`,
        { hint: "run the command on a master.", details: { cid, url: this.#connection.url } },
      );
    }
    if (status === 431)
      return refused(cid, "its name, metadata and origins are longer than its REST API takes", status);
    return refused(cid, message, status);
  }

  #assertShallow(deep: boolean): void {
    if (!deep) return;
    throw new FulaError(
      "FULA_CLUSTER_UNSUPPORTED",
      "The peers of an IPFS Cluster cannot be asked to read every block.",
      {
        hint: "run ipfs repo verify on each peer; fula-master sweep without --deep tells what they say they hold.",
      },
    );
  }
}

/** @param status of the answer, in the error's details: from 500 on it is the cluster and not the pin; null for what no cluster takes */
function refused(cid: string, why: string, status: number | null): FulaError {
  return new FulaError("FULA_PIN_REFUSED", `The cluster does not take pin ${cid}: ${why}.`, {
    hint: "fula-master status shows the cluster's peers; change the pin's factors, mode or origins if they are what it refuses.",
    details: { cid, status },
  });
}

function gonePeer(id: string, since: string): ClusterPeer {
  const error = `it has not been heard of since ${since}`;
  return { id, name: "", isSelf: false, state: "gone", error, kuboId: null, addresses: [], kuboAddresses: [] };
}
