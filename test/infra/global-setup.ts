import { sayOnStderr } from "./run.ts";
import { setUpInfra } from "./setup.ts";

/** Before the drills: makes what they stand on, wherever something of it is missing. */
export default async function globalSetup(): Promise<void> {
  await setUpInfra(sayOnStderr);
}
