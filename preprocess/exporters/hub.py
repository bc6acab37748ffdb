"""Upload of an exported directory to the Hugging Face hub."""

from pathlib import Path

from preprocess.importers.weight_files import reason
from salt_fairseq.errors import InputError


def check(repository: str) -> None:
    """Raise where huggingface_hub is missing or the hub would refuse the name ``repository`` (``user/name``)."""
    try:
        from huggingface_hub.utils import HFValidationError, validate_repo_id
    except ImportError:
        raise InputError("--push-to-hub needs the package huggingface_hub: pip install 'salt_fairseq[hub]'") from None
    try:
        validate_repo_id(repository)
        is_valid = repository.count("/") == 1
    except HFValidationError:
        is_valid = False
    if not is_valid:
        raise InputError(f"--push-to-hub {repository} is not a name on the Hugging Face hub: give USER/NAME")


def push(directory: Path, repository: str, is_private: bool = False) -> str:
    """Upload the files of ``directory`` in one commit, into a new repository or one that exists; returns its address.

    The library reads the login from ``HF_TOKEN`` or from what ``hf auth login`` has stored.
    """
    from huggingface_hub import HfApi

    api = HfApi()
    try:
        address = api.create_repo(repository, private=is_private, exist_ok=True)
        api.upload_folder(repo_id=repository, folder_path=directory, commit_message="Export of salt_fairseq")
    except Exception as error:  # the library raises login, HTTP, network and offline errors of many kinds
        raise InputError(
            f"{directory} is complete, but was not uploaded to {repository} ({reason(error)}): log in with hf auth login, "
            f"check the network, and run hf upload {repository} {directory}"
        ) from None
    return str(address)
