import { existsSync } from "node:fs";
import Docker from "dockerode";
import { type Binaries, binaries } from "./daemons.ts";
import { IMAGES, type Images } from "./image-names.ts";

/** What the drills stand on: real daemons as programs and as images, and the engine that runs the images. */
export interface Infra {
  readonly docker: Docker;
  readonly images: Images;
  readonly binaries: Binaries;
}

/** Gives what `npm run infra` made; makes nothing. @throws Error where it has not been run */
export function infra(): Infra {
  return { docker: new Docker(), images: IMAGES, binaries: builtBinaries() };
}

/** The programs alone, for what needs no engine. @throws Error where they are not built */
export function builtBinaries(): Binaries {
  const built = binaries();
  const missing = Object.values(built).find((path) => !existsSync(path));
  if (missing !== undefined) throw new Error(`${missing} is not built.\n  Try: npm run infra`);
  return built;
}
