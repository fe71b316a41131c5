"""An export uploaded to the Hugging Face hub. Credentials are huggingface_hub's own: HF_TOKEN, or its login."""

from pathlib import Path

from fastpt.errors import FastptError
from fastpt.printable import one_line

CARD = "README.md"


def push_folder(folder: Path, name: str) -> str:
    """Upload `folder` to the model `name`, OWNER/NAME, in one commit, and return the address of the commit.

    A model that is not there is made, private; what it has beside these files stays. The card names the model where it
    named the folder. Raises FastptError if the hub refuses or cannot be reached.
    """
    try:
        import huggingface_hub as hub
    except ImportError:
        raise FastptError("--push needs huggingface_hub: pip install huggingface_hub.") from None
    card = (folder / CARD).read_text(encoding="utf-8")
    card = card.replace("local-dir:PATH", f"hf-hub:{name}").replace('"PATH"', f'"{name}"')
    files = sorted(path for path in folder.iterdir() if path.is_file() and path.name != CARD)
    operations = [hub.CommitOperationAdd(path.name, path) for path in files]
    operations.append(hub.CommitOperationAdd(CARD, card.encode()))
    try:
        api = hub.HfApi(library_name="fastpt")
        api.create_repo(name, private=True, exist_ok=True)
        return api.create_commit(name, operations, commit_message=f"{folder.parent.name}, by fastpt").commit_url
    except Exception as error:  # the hub's own, or those of the HTTP library that its version has
        raise FastptError(
            f"{folder} could not be pushed to {name}: {one_line(error).rstrip('.')}. Set HF_TOKEN to a token that may "
            "write there, or mend the network, and run the same command again; the export itself is written."
        ) from None
