"""A role's template, rendered. Ansible's own lookup copies all variables of a host for each: a tenth of a run."""

from __future__ import annotations

DOCUMENTATION = r"""
name: rendered
short_description: The text of a template in the role's templates/, for the host at hand
options:
  _terms: {description: Paths below templates/., required: true}
  template_vars: {description: Variables that only this template has., type: dict, default: {}}
"""

import os
from collections import ChainMap
from typing import Any

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase
from ansible.template import trust_as_template


class LookupModule(LookupBase):  # type: ignore[misc]  # ansible-core has no types
    """Blocks lose their line ends, as in every template of Ansible's."""

    def run(self, terms: list[str], variables: Any = None, **options: Any) -> list[str]:
        return [self.rendered(term, variables, options.get("template_vars", {})) for term in terms]

    def rendered(self, term: str, variables: Any, more: dict[str, Any]) -> str:
        file = self.find_file_in_search_path(variables, "templates", term)
        if not file:
            raise AnsibleLookupError(f"there is no template {term}")
        templar = self._templar.copy_with_new_env(
            available_variables=ChainMap(more, variables),
            searchpath=[file.removesuffix(term), os.path.dirname(file)],  # for what it includes
        )
        source = trust_as_template(self._loader.get_text_file_contents(file))
        text: str = templar.template(source, escape_backslashes=False, overrides={"trim_blocks": True})
        return text
