import { expect, test } from "vitest";
import { isAddressOrNetwork, isLoopback, parseServiceAddress, serviceUrl } from "../../../src/lib/config/addresses.ts";

test.each([
  ["/ip4/127.0.0.1/tcp/5001", "http://127.0.0.1:5001"],
  ["/ip6/::1/tcp/5001", "http://[::1]:5001"],
  ["/dns4/kubo.internal/tcp/443/https", "https://kubo.internal:443"],
  ["/dns/kubo/tcp/5001/http", "http://kubo:5001"],
  ["http://localhost:5001", "http://localhost:5001"],
  ["http://[::1]:5001/", "http://[::1]:5001"],
  ["https://kubo.example", "https://kubo.example:443"],
])("%s is reached at %s", (text, url) => {
  const address = parseServiceAddress(text);
  expect(address).not.toBeNull();
  if (address !== null) expect(serviceUrl(address)).toBe(url);
});

test.each([
  "127.0.0.1:5001",
  "/ip4/127.0.0.1",
  "/ip4/127.0.0.1/udp/5001",
  "/ip4/127.0.0.256/tcp/5001",
  "/ip4/::1/tcp/5001",
  "/ip6/127.0.0.1/tcp/5001",
  "/ip4/127.0.0.1/tcp/0",
  "/ip4/127.0.0.1/tcp/65536",
  "/ip4/127.0.0.1/tcp/5001/p2p/Qm",
  "/dns4/-bad-/tcp/1",
  "/constructor/x/tcp/1",
  "ftp://host:1",
  "http://host:5001/api/v0",
  "http://user:pw@host:5001",
  "http://",
  "",
])("%j is no address of a service", (text) => {
  expect(parseServiceAddress(text)).toBeNull();
});

test.each([
  ["127.0.0.1", true],
  ["127.8.8.8", true],
  ["::1", true],
  ["localhost", true],
  ["0.0.0.0", false],
  ["::", false],
  ["10.0.0.1", false],
  ["127.0.0.1.example", false],
])("%s is loopback: %s", (host, expected) => {
  expect(isLoopback(host)).toBe(expected);
});

test("a network is an address with as many bits as it has at most", () => {
  for (const text of ["10.0.0.0/8", "203.0.113.7", "203.0.113.7/32", "::1", "2001:db8::/32", "::/0"]) {
    expect([text, isAddressOrNetwork(text)]).toEqual([text, true]);
  }
  for (const text of ["", "/8", "10.0.0.0/", "10.0.0.0/33", "::/129", "10.0.0.0/8/8", "300.0.0.1", "proxy", "10/8"]) {
    expect([text, isAddressOrNetwork(text)]).toEqual([text, false]);
  }
});
