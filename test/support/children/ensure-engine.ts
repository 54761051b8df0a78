import { ENGINE_PROGRAMS, ensureEngine } from "../../infra/engine.ts";
import { ensurePrograms } from "../debian-tools.ts";

/** Sees to an engine twice, and prints what it had to do, one JSON document. */
const said: string[] = [];
const ensure = async (): Promise<string> =>
  await ensureEngine(
    () => {
      ensurePrograms(ENGINE_PROGRAMS);
    },
    (text) => said.push(text),
  );
const first = await ensure();
const second = await ensure();
process.stdout.write(`${JSON.stringify({ first, second, said })}\n`);
