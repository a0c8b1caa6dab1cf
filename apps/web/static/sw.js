// Keeps the whole site in the browser, so that it works without a network; and marks its pages as
// isolated, which lets the model use several threads on any static host.
"use strict";

const FILES = {}; /* filled in when the site is made: path -> integrity */
const AT_ONCE = []; /* of them, what is fetched on installing; the rest as it is used */
const VERSION = "";

const CACHE = `edge-effnet ${self.registration.scope} ${VERSION}`;
const OWN = `edge-effnet ${self.registration.scope} `;

/** Path of a URL's file in this site; undefined for other URLs. */
function pathOf(address) {
  if (!address.startsWith(self.registration.scope)) return undefined;
  const path = address.slice(self.registration.scope.length).replace(/[?#].*$/, "");
  return Object.hasOwn(FILES, path || "index.html") ? path || "index.html" : undefined;
}

/** Fetch a file of this version; content with another digest is refused. */
async function fetched(path) {
  const answer = await fetch(path, { integrity: FILES[path], cache: "no-cache" });
  if (!answer.ok) throw new TypeError(`${path}: ${answer.status} ${answer.statusText}`);
  return answer;
}

async function install() {
  const cache = await caches.open(CACHE);
  await Promise.all(AT_ONCE.map(async (path) => cache.put(path, await fetched(path))));
  await self.skipWaiting();
}

async function activate() {
  for (const name of await caches.keys()) {
    if (name.startsWith(OWN) && name !== CACHE) await caches.delete(name);
  }
  await self.clients.claim();
}

async function answer(path) {
  const cache = await caches.open(CACHE);
  let found = await cache.match(path);
  if (!found) {
    found = await fetched(path);
    await cache.put(path, found.clone());
  }
  const headers = new Headers(found.headers);
  headers.set("Cross-Origin-Opener-Policy", "same-origin");
  headers.set("Cross-Origin-Embedder-Policy", "require-corp");
  return new Response(found.body, { status: found.status, headers });
}

self.addEventListener("install", (event) => event.waitUntil(install()));
self.addEventListener("activate", (event) => event.waitUntil(activate()));
self.addEventListener("fetch", (event) => {
  const path = event.request.method === "GET" ? pathOf(event.request.url) : undefined;
  if (path !== undefined) event.respondWith(answer(path));
});
