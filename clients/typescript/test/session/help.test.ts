import { create } from "@bufbuild/protobuf";
import { expect, onTestFinished, test } from "vitest";
import {
  AcceptHelpResponseSchema,
  createClients,
  GovernorService,
  type HelpRequest,
  HelpState,
  HelpUrgency,
  ListHelpRequestsResponseSchema,
  type RequestHelpRequest,
  RequestHelpResponseSchema,
} from "../../src/index.js";
import { Mailbox } from "../support/mailbox.js";
import { RpcServer } from "../support/rpc-server.js";
import { join } from "../support/session-fixture.js";

const OFFER = { helpId: "h1", swarmId: "s2", state: HelpState.OPEN, askedSwarmIds: ["s1"] };
const OVER = { helpId: "h1", swarmId: "s2", state: HelpState.ENDED, helperSwarmIds: ["s1"] };

function wanted(help: typeof OFFER | typeof OVER) {
  return { case: "helpWanted" as const, value: { help } };
}

test("a session hears of help as it changes, and again after a cut", async () => {
  const heard = new Mailbox<HelpRequest>();
  const { fabric, stream } = await join({ onHelpWanted: (help) => heard.put(help) });
  stream.send(wanted(OFFER), wanted(OVER));
  expect(await heard.take()).toMatchObject(OFFER);
  expect(await heard.take()).toMatchObject(OVER);
  fabric.cut();
  const again = await fabric.accept();
  await again.welcome({ resumed: true });
  again.send(wanted(OVER));
  expect(await heard.take()).toMatchObject(OVER);
});

test("a cost of a helper names the request, and is said once more with its id after a cut", async () => {
  const { fabric, session, stream } = await join();
  const cost = session.cost("llm.completion", 5, { helpId: "h1" });
  const said = await stream.said("cost");
  expect(said.value).toMatchObject({ costMicros: 5n, helpId: "h1", taskId: "", attempt: 0n });
  fabric.cut();
  const again = await fabric.accept();
  await again.welcome({ resumed: true });
  const repeated = await again.said("cost");
  expect(repeated).toEqual(said);
  again.reply(repeated, { case: "cost", value: { reservationLeftMicros: 7n } });
  await expect(cost).resolves.toMatchObject({ reservationLeftMicros: 7n });
});

test("help is asked for, accepted and listed by the clients of the contract", async () => {
  const asked: RequestHelpRequest[] = [];
  const server = new RpcServer((router) => {
    const { requestHelp, acceptHelp, listHelpRequests } = GovernorService.method;
    router.rpc(requestHelp, (request) => {
      asked.push(request);
      return create(RequestHelpResponseSchema, { help: OFFER });
    });
    router.rpc(acceptHelp, ({ helpId, swarmId }) =>
      create(AcceptHelpResponseSchema, { refusalDetail: `${swarmId} is late for ${helpId}` }),
    );
    router.rpc(listHelpRequests, ({ state }) =>
      create(ListHelpRequestsResponseSchema, { help: state === HelpState.ENDED ? [OVER] : [] }),
    );
  });
  await server.start();
  const { governor, close } = createClients({ url: server.url });
  onTestFinished(async () => {
    close();
    await server.stop();
  });
  const claim = { swarmId: "s2", taskId: "t1", attempt: 3n, reason: "no key", needs: ["vault"] };
  const { help } = await governor.requestHelp({ ...claim, urgency: HelpUrgency.HIGH });
  expect(help).toMatchObject(OFFER);
  // Without a budget it is all that is left; with one of nothing, nothing.
  await governor.requestHelp({ ...claim, budgetMicros: 0n });
  expect(asked.map(({ budgetMicros }) => budgetMicros)).toEqual([undefined, 0n]);
  expect(asked[0]).toMatchObject({ ...claim, urgency: HelpUrgency.HIGH });
  const late = await governor.acceptHelp({ helpId: "h1", swarmId: "s1" });
  expect(late).toMatchObject({ accepted: false, refusalDetail: "s1 is late for h1" });
  const listed = await governor.listHelpRequests({ state: HelpState.ENDED });
  expect(listed.help).toHaveLength(1);
});
