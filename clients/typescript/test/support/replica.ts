import { type AddressInfo, createServer, type Socket } from "node:net";
import { create } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import { onTestFinished } from "vitest";
import {
  CoordinatorService,
  CreateTaskResponseSchema,
  ErrorReason,
  GetTaskResponseSchema,
  WatchTasksResponseSchema,
} from "../../src/index.js";
import { refusedCall } from "./refusal.js";
import { RpcServer } from "./rpc-server.js";

/** What becomes of a call after it was counted. */
export type Answer = () => Promise<void> | void;

export const drain: Answer = () => {
  throw refusedCall(ErrorReason.DRAINING, Code.Unavailable);
};
export const loseTheStore: Answer = () => {
  throw refusedCall(ErrorReason.STORE_UNAVAILABLE, Code.Unavailable);
};
/** Fails as a connection does that is cut in the middle. */
export const breakOff: Answer = () => {
  throw new ConnectError("cut", Code.Unavailable);
};

/** One of several servers, of which the test plays the part; it counts what it is asked. */
export class Replica {
  readonly #server = new RpcServer((router) => {
    router.rpc(CoordinatorService.method.getTask, async ({ taskId }) => {
      await this.#called();
      return create(GetTaskResponseSchema, { task: { taskId } });
    });
    router.rpc(CoordinatorService.method.createTask, async ({ task }) => {
      await this.#called();
      return create(CreateTaskResponseSchema, task === undefined ? {} : { task });
    });
    router.rpc(CoordinatorService.method.watchTasks, (request) => this.#watch(request));
  });
  answer: Answer = () => undefined;
  calls = 0;
  /** Where each watch began. */
  readonly cursors: string[] = [];

  /** Starts one for the time of the test. */
  static async start(): Promise<Replica> {
    const replica = new Replica();
    await replica.#server.start();
    onTestFinished(() => replica.stop());
    return replica;
  }

  get url(): string {
    return this.#server.url;
  }

  /** Cuts all connections and stops listening. */
  stop(): Promise<void> {
    return this.#server.stop();
  }

  async #called(): Promise<void> {
    this.calls += 1;
    await this.answer();
  }

  async *#watch({ afterCursor }: { readonly afterCursor: string }) {
    this.cursors.push(afterCursor);
    const cursor = `after ${afterCursor || "nothing"}`;
    yield create(WatchTasksResponseSchema, { events: [{ cursor }] });
    await this.answer();
  }
}

/** Returns the url of a port that is listened at by a program that never says a word. */
export async function silentUrl(): Promise<string> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => sockets.add(socket.on("error", () => undefined)));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}
