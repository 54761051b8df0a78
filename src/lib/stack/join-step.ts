import type { LoadedConfig } from "../config/load.ts";
import type { Pool } from "../postgres/pool.ts";
import type { JoinBox } from "./join-box.ts";
import type { Assessment, StepId } from "./plan.ts";

/** Shows what a step is doing now. */
export type Report = (text: string) => void;

/**
 * One step of a run. It looks at the real state of the box every time, never at the journal, so that it may be asked
 * and taken again after a crash anywhere.
 */
export interface RunStep<Id extends string> {
  readonly id: Id;
  readonly title: string;
  /** Says what is to do. Writes nothing and starts nothing. */
  readonly assess: () => Promise<Assessment>;
  /** Does it. @returns what was done, in a few words */
  readonly apply: (report: Report) => Promise<string>;
}

/** One step of `join`. */
export type JoinStep = RunStep<StepId>;

/** What the steps of one run share. */
export interface JoinRun {
  readonly box: JoinBox;
  /** Reads the configuration as it is by now. */
  readonly load: () => Promise<LoadedConfig>;
  /** Opens the ledger, starting its server where need be; it stays open until the run ends. */
  readonly ledger: () => Promise<Pool>;
  /** False while the run only looks: nothing may be started then. */
  readonly mayStart: boolean;
  /** Writes the files of the containers anew from the settings as they are by now, and changes the containers to them. */
  readonly applyStack: (report: Report) => Promise<void>;
  /** True where this run changed settings or secrets, so that a `serve` that runs has old ones. */
  settingsChanged: boolean;
}

/** What the steps about containers take of their run, be it that of a master or of a storage node. */
export interface ContainerRun {
  readonly box: Pick<JoinBox, "context" | "paths" | "wanted" | "reloadSaved">;
  /** False while the run only looks. */
  readonly mayStart: boolean;
}
