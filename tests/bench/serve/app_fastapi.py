"""The routes of the HTTP benches, with FastAPI."""
from fastapi import FastAPI
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel

app = FastAPI()


class Doc(BaseModel):
    id: int
    name: str
    qty: int
    price: float
    tags: list[str]


@app.get("/hello", response_class=PlainTextResponse)
async def hello():
    return "Hello, World!"


@app.post("/json")
async def echo(doc: Doc):
    return {"id": doc.id, "name": doc.name, "ok": True, "total": doc.qty * doc.price, "tags": doc.tags}
