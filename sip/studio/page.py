"""The page of the studio, and the server that shows it."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from sip.api.session import Session
from sip.core.errors import UserError
from sip.core.extras import install_extras
from sip.studio.settings import Settings, check_address

HERE = Path(__file__).parent
FONTS = ("system-ui", "sans-serif")  # the system's; no page asks another host for anything
MONOSPACE = ("ui-monospace", "monospace")
# Gradio reads them when it is imported: no telemetry, no look for newer versions, no proxy.
ENVIRONMENT = {
    "GRADIO_ANALYTICS_ENABLED": "False",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "GRADIO_SHARE": "False",
    "GRADIO_NODE_SERVER": "False",
}


def require_gradio() -> None:
    """Check that Gradio is installed.

    Raises:
        UserError: It is not.
    """
    from importlib.util import find_spec

    if find_spec("gradio") is None:
        raise UserError(f"sip.studio: needs the package gradio; {install_extras('studio')}")


def keep_uploads() -> None:
    """Have Gradio keep what is uploaded as long as this process lives."""
    if "GRADIO_TEMP_DIR" not in os.environ:
        folder = tempfile.mkdtemp(prefix="sip-studio-")
        os.environ["GRADIO_TEMP_DIR"] = folder
        atexit.register(shutil.rmtree, folder, ignore_errors=True)


def page(settings: Settings, session: Session) -> Any:
    """Return the page, a `gradio.Blocks`."""
    import gradio as gr

    from sip.studio.compare_tab import compare_tab
    from sip.studio.review_tab import review_tab
    from sip.studio.try_tab import try_tab

    with gr.Blocks(title="SIP studio", analytics_enabled=False, fill_width=True) as blocks:
        gr.Markdown(f"# SIP studio\n{settings.line}", elem_id="sip-head")
        with gr.Tabs(elem_id="sip-tabs"):
            with gr.Tab("Try", id="try"):
                try_tab(session, settings)
            with gr.Tab("Review", id="review") as review:
                review_tab(review, settings)
            with gr.Tab("Compare", id="compare") as compare:
                compare_tab(compare, settings)
    return blocks


def launch(settings: Settings, host: str, port: int | None, open_browser: bool, wait: bool) -> Any:
    """Serve the page.

    Args:
        settings: Those of the command line.
        host, port: Where to listen; without a port, one that is free.
        open_browser: Whether to open a browser on this machine.
        wait: Whether to return only when the server ends.

    Returns:
        The page, whose `close()` ends the server.

    Raises:
        UserError: Gradio is missing, or the address cannot be taken.
    """
    require_gradio()
    check_address(host, port)
    os.environ.update(ENVIRONMENT)
    keep_uploads()
    import gradio as gr

    blocks = page(settings, Session())
    theme = gr.themes.Base(
        primary_hue="teal", neutral_hue="slate", font=list(FONTS), font_mono=list(MONOSPACE),
        spacing_size="sm",
    )  # fmt: skip
    script = (HERE / "page.js").read_text(encoding="utf-8")
    try:
        blocks.launch(
            server_name=host,
            server_port=port,
            share=False,
            inbrowser=open_browser,
            quiet=True,
            prevent_thread_lock=True,
            show_error=True,
            footer_links=[],
            allowed_paths=[],
            ssr_mode=False,
            mcp_server=False,
            enable_monitoring=False,
            theme=theme,
            css=(HERE / "page.css").read_text(encoding="utf-8"),
            head=f"<script>{script}</script>",
        )
    except OSError as error:
        raise UserError(
            f"port: must be free on {host}, got {port}, which cannot be taken; say port=null"
        ) from error
    print(f"studio: {blocks.local_url} (Ctrl-C ends it)", flush=True)
    if wait:
        blocks.block_thread()
    return blocks
