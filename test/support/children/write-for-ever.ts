/* Replaces the file that its first argument names for ever with a million times another letter; says so after the tenth. */
import { writeFileAtomic } from "../../../src/lib/kernel/files.ts";

for (let round = 0; ; round += 1) {
  const letter = String.fromCodePoint(97 + (round % 26));
  await writeFileAtomic(process.argv[2] ?? "", letter.repeat(1 << 20), { mode: 0o600 });
  if (round === 10) console.log("writing");
}
