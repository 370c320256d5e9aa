import { once } from "node:events";
import { createServer as createHttpServer } from "node:http";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import { setImmediate } from "node:timers/promises";
import { expect, onTestFinished, test } from "vitest";
import { createClients, FabricError, Session, watchStatus } from "../../src/index.js";

/** Collects what nobody caught until the test is over. */
function uncaught(): readonly Error[] {
  const errors: Error[] = [];
  const collect = (error: Error) => void errors.push(error);
  process.on("uncaughtException", collect);
  onTestFinished(() => void process.off("uncaughtException", collect));
  return errors;
}

async function listen(server: Server): Promise<string> {
  const sockets = new Set<Socket>();
  server.on("connection", (socket) => sockets.add(socket.on("error", () => undefined)));
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

const STRANGERS: Readonly<Record<string, () => Server>> = {
  "an HTTP/1 server": () => createHttpServer((_request, response) => response.end("hello")),
  "a server that speaks first": () => createServer((socket) => socket.write("220 ready\r\n")),
  "a server that echoes": () => createServer((socket) => socket.pipe(socket)),
  "a server that hangs up": () => createServer((socket) => socket.end()),
};

test.each(Object.keys(STRANGERS))("%s fails the calls and nothing else", async (name) => {
  const errors = uncaught();
  const url = await listen((STRANGERS[name] as () => Server)());
  for (const servers of [url, [url, url]]) {
    const clients = createClients({ url: servers });
    onTestFinished(() => clients.close());
    const failed = expect.any(FabricError);
    for (let round = 0; round < 5; round += 1) {
      const call = clients.coordinator.getTask({ taskId: "t" }, { timeoutMs: 2_000 });
      expect(FabricError.from(await call.catch((error: unknown) => error)).unreachable).toBe(true);
    }
    await expect(watchStatus(clients, { connectTimeoutMs: 100 }).next()).rejects.toEqual(failed);
  }
  const session = Session.open({ url, swarmId: "s", openTimeoutMs: 300 });
  await expect(session).rejects.toThrow(/./);
  await setImmediate();
  expect(errors).toEqual([]);
});
