"""What every module promises about check mode, differences, repetition and hosts, in words."""

from __future__ import annotations


class ModuleDocFragment:
    """``dbfleet.recovery.attributes``; ``….actiongroup`` for the group of modules; ``….info`` where nothing changes."""

    DOCUMENTATION = r"""
options: {}
attributes:
  check_mode:
    description: Can run in C(check_mode), where it changes nothing and says what would change.
  diff_mode:
    description: Says with C(--diff) what is, or would be, different afterwards.
  idempotent:
    description: When run twice in a row, and nothing else happens between, the second run changes nothing.
  platform:
    description: Hosts it can run on.
    platforms: posix, windows
    support: full
    details: On Windows, the command that the role P(dbfleet.recovery.agent#role) installs does the work; not verified
      on Windows itself.
"""

    ACTIONGROUP = r"""
options: {}
attributes:
  action_group:
    description: >-
      Use C(group/dbfleet.recovery.recovery) in C(module_defaults) to set options of all modules of this
      collection, such as the repository.
    support: full
    membership:
      - dbfleet.recovery.recovery
"""

    INFO = r"""
options: {}
attributes:
  check_mode:
    support: full
    details: It never changes anything.
  diff_mode:
    support: N/A
    details: It never changes anything.
  idempotent:
    support: full
    details: It never changes anything.
"""
