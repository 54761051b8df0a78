import { sayOnStderr } from "../infra/run.ts";
import { setUpNatsServer } from "../infra/setup.ts";

/** Builds, once a run of tests that start real NATS servers, what they start. */
export default async function buildNatsServer(): Promise<void> {
  await setUpNatsServer(sayOnStderr);
}
