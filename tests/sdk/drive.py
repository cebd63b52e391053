"""Drives an emulator with Microsoft's own client. Argument: the line that `gpuscale emulator` printed.

Every step prints what the client made of the answers, one JSON document a line; `tests/sdk.rs` says what that has to be.
"""

import json
import sys
import time

from azure.core import MatchConditions
from azure.core.credentials import AccessToken
from azure.core.exceptions import HttpResponseError
from azure.core.pipeline.policies import SansIOHTTPPolicy
from azure.mgmt.containerservice import ContainerServiceClient
from azure.mgmt.containerservice.models import AgentPoolDeleteMachinesParameter


class Credential:
    """A token that nobody has issued; it is not even sent, since the emulator speaks plain HTTP."""

    def get_token(self, *_scopes, **_options):
        return AccessToken("none", int(time.time()) + 3600)


class NoAuthentication(SansIOHTTPPolicy):
    """In place of the policy that refuses plain HTTP."""


emulator = json.loads(sys.argv[1])
_, _, subscription, _, group, _, _, _, cluster = emulator["cluster"].split("/")
client = ContainerServiceClient(
    Credential(),
    subscription,
    base_url=emulator["arm"],
    authentication_policy=NoAuthentication(),
    polling_interval=0,
    retry_total=0,
)
pools = client.agent_pools
at = (group, cluster)


def say(step, **said):
    print(json.dumps({"step": step, **said}))


def refused(step, action):
    try:
        action()
    except HttpResponseError as error:
        details = [detail.code for detail in (error.error.details or [])] if error.error else []
        say(step, raised=type(error).__name__, code=error.error and error.error.code, details=details)
    else:
        say(step, raised=None)


def resize(pool, count, etag=None):
    body = pools.get(*at, pool)
    body.properties.count = count
    condition = {"etag": etag or body.properties.e_tag, "match_condition": MatchConditions.IfNotModified}
    return pools.begin_create_or_update(*at, pool, body, **condition).result()


pool = pools.get(*at, "a100")
say("get", name=pool.name, count=pool.properties.count, size=pool.properties.vm_size)
say("list", names=sorted(pool.name for pool in pools.list(*at)))
machines = [machine.name for machine in client.machines.list(*at, "a100")]
say("machines", names=machines, zones=client.machines.get(*at, "a100", machines[0]).zones)

resized = resize("a100", 3)
say("resize", count=resized.properties.count, state=resized.properties.provisioning_state)
refused("stale", lambda: resize("a100", 4, etag=pool.properties.e_tag))

refused("full", lambda: resize("full", 4))
failed = pools.get(*at, "full").properties
say("failed", state=failed.provisioning_state, code=failed.status.provisioning_error.code)

names = AgentPoolDeleteMachinesParameter(machine_names=machines[:1])
pools.begin_delete_machines(*at, "a100", names).result()
left = [machine.name for machine in client.machines.list(*at, "a100")]
say("deleted", count=pools.get(*at, "a100").properties.count, left=left)

profile = pools.get_upgrade_profile(*at, "a100")
say("profile", os=profile.properties.os_type)
refused("idle", lambda: pools.begin_abort_latest_operation(*at, "a100").result())
refused("gone", lambda: pools.get(*at, "nobody"))
pools.begin_delete(*at, "full").result()
say("left", names=sorted(pool.name for pool in pools.list(*at)))
