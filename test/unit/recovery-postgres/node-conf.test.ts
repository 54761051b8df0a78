import fc from "fast-check";
import { expect, test } from "vitest";
import { parseNodeConf, renderNodeConf } from "../../../src/lib/recovery/postgres/node-conf.ts";
import { renderConninfo } from "../../../src/lib/recovery/postgres/primary-link.ts";
import { property } from "../../support/property.ts";

const name = fc.stringMatching(/^[a-z_][a-z0-9_]{0,12}(?:\.[a-z_][a-z0-9_]{0,12})?$/);
const value = fc.string({ unit: "binary", maxLength: 40 }).filter((text) => !/[\n\r\0]/.test(text));

test("settings are read back as they were written, whatever their values", () => {
  fc.assert(
    fc.property(fc.dictionary(name, value, { noNullPrototype: true }), (conf) => {
      expect(parseNodeConf(renderNodeConf(conf), "node.conf")).toEqual(conf);
    }),
    property(),
  );
});

test("quotes and backslashes are doubled, and the settings are in order", () => {
  const text = renderNodeConf({ b: "it's", a: "c:\\d" });
  expect(text.split("\n").slice(2)).toEqual(["a = 'c:\\\\d'", "b = 'it''s'", ""]);
});

test("a value of two lines, which would be a setting of its own, is a bug", () => {
  expect(() => renderNodeConf({ a: "1\nfsync = off" })).toThrow(/more than one line/);
  expect(() => renderNodeConf({ "a = 1\nfsync": "off" })).toThrow(/no name of a setting/);
});

test("a line that somebody else wrote is told, not dropped", () => {
  expect(() => parseNodeConf("fsync = off\n", "/x/node.conf")).toThrow(/Line 1 of \/x\/node.conf/);
});

test("a connection string is quoted, and holds no password", () => {
  expect(renderConninfo({ host: "10.0.0.1", sslkey: "/a b/it's\\key" })).toBe(
    "host='10.0.0.1' sslkey='/a b/it\\'s\\\\key'",
  );
  expect(() => renderConninfo({ password: "x" })).toThrow(/no place/);
});
