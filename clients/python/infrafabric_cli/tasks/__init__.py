"""`infrafabric tasks`: create, claim, finish and watch tasks."""

import typer

from infrafabric_cli.tasks import act, create, dispatch, read

app = typer.Typer(no_args_is_help=True)
app.command("list")(read.list_tasks)
app.command("get")(read.get)
app.command("watch")(read.watch)
app.command("create")(create.create)
app.command("cancel")(dispatch.cancel)
app.command("push")(dispatch.push)
app.command("offer")(dispatch.offer)
app.command("assign")(dispatch.assign)
app.command("claim")(act.claim)
app.command("extend")(act.extend)
app.command("progress")(act.progress)
app.command("complete")(act.complete)
app.command("fail")(act.fail)
app.command("release")(act.release)
