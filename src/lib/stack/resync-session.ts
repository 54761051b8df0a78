import { formatUtc } from "../kernel/clock.ts";
import { FulaError, messageOf } from "../kernel/errors.ts";
import type { ControlPlaneAdapter } from "../recovery/adapters.ts";
import type { SessionId } from "../recovery/types.ts";
import { identifySelf } from "../runtime/processes.ts";
import type { ResyncScene } from "./resync-scene.ts";
import type { StandbyBox } from "./standby-box.ts";

/**
 * The sessions of one run, one after the other. Each is the box's `session` record of the control plane, and its id is the
 * revision of that: nobody else gets it, and it grows. Whoever finds something that a session left behind knows by the
 * record whether it still lives. The caller holds the box's lock, so that a record that is there is a dead run's.
 */
export class ResyncSessions implements Pick<ControlPlaneAdapter, "newSessionIds">, AsyncDisposable {
  readonly #box: StandbyBox;
  readonly #scene: ResyncScene;
  #revision: number | null = null;

  constructor(box: StandbyBox, scene: ResyncScene) {
    this.#box = box;
    this.#scene = scene;
  }

  async newSessionIds(count: number): Promise<readonly SessionId[]> {
    const ids: SessionId[] = [];
    for (let index = 0; index < count; index += 1) ids.push(await this.#next());
    return ids;
  }

  /** The session that lives; null before the first and after the last. */
  get current(): SessionId | null {
    return this.#revision === null ? null : BigInt(this.#revision);
  }

  async #next(): Promise<SessionId> {
    const { store, name, context } = this.#box;
    const { number, uuid } = this.#scene.epoch;
    const expected = this.#revision ?? (await store.get("session", name)).revision;
    const revision = await store.put(
      "session",
      {
        node: name,
        epoch: { number: Number(number), uuid },
        kind: "catchup",
        phase: "resync",
        owner: `${name} ${identifySelf().pid}`,
        pins: [],
        token: context.random.uuid(),
        at: formatUtc(context.clock.nowMs()),
      },
      expected,
      name,
    );
    if (revision === null) {
      throw new FulaError("FULA_LOCKED", `Another recovery of ${name} has begun at the same moment.`, {
        hint: "fula-master standby status shows it; run the command again when it has ended.",
      });
    }
    this.#revision = revision;
    return BigInt(revision);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#revision === null) return;
    const { store, name, context } = this.#box;
    try {
      await store.remove("session", this.#revision, name);
    } catch (error) {
      // The next run takes the record over; and what this one ends with is what has to be heard.
      context.log.warn("resync.session_left", { because: messageOf(error) });
    }
    this.#revision = null;
  }
}
