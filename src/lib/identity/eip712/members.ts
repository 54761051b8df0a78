/** A flat JSON object whose only spelling was used, as its members in their order. */
export type Members = readonly (readonly [name: string, value: string | number])[];

/** One member without escapes: `"iat":1750000000`, `"wallet":"0x…"`. Digits beyond the safe integers are refused below. */
const MEMBER = /"([A-Za-z]{1,32})":(?:"([ !#-[\]-~]*)"|(0|[1-9][0-9]{0,15}))/y;

/**
 * Reads a JSON object of texts and whole numbers as it has to be spelled: no whitespace between its parts, no escapes,
 * no exponents, no name twice. A text says why it is none.
 */
export function readMembers(json: string): Members | string {
  if (!json.startsWith("{") || !json.endsWith("}")) return "its payload is no JSON object";
  const members: [string, string | number][] = [];
  let at = 1;
  while (true) {
    MEMBER.lastIndex = at;
    const match = MEMBER.exec(json);
    if (match === null) return `its payload is not plain JSON from character ${at} on`;
    const [all, name = "", text, digits] = match;
    const value = text ?? Number(digits);
    if (typeof value === "number" && !Number.isSafeInteger(value)) return `its ${name} is too large a number`;
    if (members.some(([other]) => other === name)) return `its payload has ${name} twice`;
    members.push([name, value]);
    at += all.length;
    if (at === json.length - 1) return members;
    if (json[at] !== ",") return `its payload is not plain JSON from character ${at} on`;
    at += 1;
  }
}
