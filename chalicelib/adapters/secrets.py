"""Secret texts from SSM Parameter Store and Secrets Manager, through Powertools Parameters.

The name says which of the two. A secret's value appears in no message. Not here: what a secret is for.
"""

from __future__ import annotations

from aws_lambda_powertools.utilities.parameters import SecretsProvider, SSMProvider
from aws_lambda_powertools.utilities.parameters.exceptions import GetParameterError
from botocore.exceptions import ClientError

from chalicelib.errors import NotFoundError

_SECRETS_MANAGER = "secretsmanager:"
_KEPT_SECONDS = 300
_ABSENT = ("ParameterNotFound", "ParameterVersionNotFound", "ResourceNotFoundException")


class ParameterSecrets:
    """`ports.Secrets` over Powertools' two providers, which hold their clients; a value is kept for five minutes."""

    def __init__(self, parameters: SSMProvider, secrets: SecretsProvider) -> None:
        self._parameters = parameters
        self._secrets = secrets

    def get(self, name: str) -> str:
        """The text of `secretsmanager:{secret id}`, or of the SSM parameter of this name, decrypted.

        Raises NotFoundError. A rotated secret takes effect within five minutes.
        """
        try:
            if name.startswith(_SECRETS_MANAGER):
                value = self._secrets.get(name.removeprefix(_SECRETS_MANAGER), max_age=_KEPT_SECONDS)
            else:
                value = self._parameters.get(name, decrypt=True, max_age=_KEPT_SECONDS)
        except GetParameterError as error:
            # Powertools wraps every error; the client's own one is its context.
            cause = error.__context__
            if isinstance(cause, ClientError):
                if cause.response["Error"]["Code"] in _ABSENT:
                    raise NotFoundError(f"secret {name}: no such parameter or secret") from error
                raise cause from error
            raise
        return value.decode("utf-8") if isinstance(value, bytes) else str(value)
