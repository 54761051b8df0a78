/** `fula-master` from the sources in one process, so that a signal to it ends all of it. */
import { main } from "../../../src/main.ts";

await main();
