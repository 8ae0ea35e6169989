"""What every module shares: options made from the key table, the job they name, errors as ``fail_json``."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any, Callable
from urllib.parse import unquote

from ansible.module_utils.basic import AnsibleModule

from .dbfleet.absolute import refuse_relative
from .dbfleet.config import Layer, job_from_layer, merge, read_mapping
from .dbfleet.host_faults import fault_of
from .dbfleet.jobfiles import read_job_file
from .dbfleet.keys import KEYS, Key
from .dbfleet.model import Job
from .dbfleet.progress import SILENCE, Progress
from .dbfleet.run_limits import applied
from .dbfleet.status import reported

TYPES = {"path": "path", "int": "int", "mode": "raw", "list": "list"}  # every other kind of key is text
JOIN_ATTEMPTS = 40  # two seconds


def argument_spec(**options: dict[str, Any]) -> dict[str, Any]:
    """The spec of a module: ``job``, every key of the job, nested as in the job, and its own ``options``.

    There are no defaults here: an option that is not given leaves the word to the installed job,
    and then to the defaults of ``model``.
    """
    spec: dict[str, Any] = {"job": {"type": "str"}}
    for key in KEYS:
        if key.group:
            group = spec.setdefault(key.group, {"type": "dict", "options": {}})
            group["options"][key.field] = option_of(key)
        else:
            spec[key.path] = option_of(key)
    return {**spec, **options}


def option_of(key: Key) -> dict[str, Any]:
    """The option for one key. A URL may hold a password, so none is logged when the module starts."""
    option: dict[str, Any] = {"type": TYPES.get(key.kind, "str"), "no_log": key.kind == "url"}
    if key.kind == "list":
        option["elements"] = "str"
    if key.choices:
        option["choices"] = list(key.choices)
    return option


def job_from_params(params: Mapping[str, Any], *, name_needed: bool) -> Job:
    """The job of a module's options: those given are stronger than the installed job that ``job`` names.

    Raises ``UsageError`` for values that make no job and for relative paths, ``NotFoundError``
    for a job that is not installed.
    """
    given = given_layer(params)
    installed = read_job_file(params["job"], os.environ) if params.get("job") else {}
    return job_from_layer(merge([given, installed]), name_needed=name_needed)


def given_layer(params: Mapping[str, Any]) -> Layer:
    """The checked values of the options that are given. Raises ``UsageError``, also for relative paths."""
    heads = {key.group or key.path for key in KEYS}
    given = read_mapping({head: params.get(head) for head in sorted(heads)}, where="the options")
    refuse_relative(given)
    return given


def run(
    module: AnsibleModule,
    function: Callable[[AnsibleModule, Job], dict[str, Any]],
    *,
    name_needed: bool = False,
) -> None:
    """End ``module`` with what ``function`` returns, or with the one line of the error that it raises.

    ``name_needed`` refuses a job without a name, which otherwise stands for every backup in its repository.
    """

    def perform(module: AnsibleModule) -> dict[str, Any]:
        job = job_from_params(module.params, name_needed=name_needed)
        with applied(job.limits):
            return function(module, job)

    end_with(module, perform)


def end_with(module: AnsibleModule, function: Callable[[AnsibleModule], dict[str, Any]]) -> None:
    """As :func:`run`, for a module that is not about one job."""
    join_watched_group(os.environ)
    hide_only_secrets(module)
    try:
        result = function(module)
    except Exception as error:
        if (fault := fault_of(error)) is None:
            raise
        module.fail_json(msg=str(fault), error=fault.to_json())
    if result.pop("failed", False):
        module.fail_json(**result)
    module.exit_json(**result)


def join_watched_group(environ: Mapping[str, str]) -> None:
    """With ``async``, come within reach of Ansible's watcher.

    ``async_wrapper`` kills the process group that the parent of this process leads, and makes that group when the
    parent may have started this process already; it would then outlive the limit, and hold its lock.
    """
    if "ANSIBLE_ASYNC_DIR" not in environ or not hasattr(os, "setpgid"):
        return
    parent = os.getppid()
    for _attempt in range(JOIN_ATTEMPTS):
        with suppress(OSError):
            if os.getpgrp() != parent:
                os.setpgid(0, parent)
            return
        time.sleep(0.05)


def told(module: AnsibleModule, verb: str, job: Job) -> AbstractContextManager[Progress]:
    """Where others can see how far ``verb`` is (module ``status_info``); nowhere in check mode."""
    if module.check_mode or not job.name:
        return nullcontext(SILENCE)
    return reported(verb, job.name, SILENCE)


def hide_only_secrets(module: AnsibleModule) -> None:
    """Of the URLs, all hidden at first, go on hiding only those with a secret, and the secret itself."""
    for url in [text for text in module.no_log_values if isinstance(text, str)]:
        secrets = secrets_of(url)
        if not secrets:
            module.no_log_values.discard(url)
        module.no_log_values.update(secrets)


def secrets_of(url: str) -> set[str]:
    """The secrets in ``url``, as written and decoded: a password, or all of a query."""
    rest = url.partition("://")[2] or url
    place, _mark, query = rest.partition("?")
    password = place.rpartition("@")[0].partition(":")[2]
    return {text for secret in (password, query) if secret for text in (secret, unquote(secret))}
