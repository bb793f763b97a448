"""Two floors: FastAPI routes that take the same body and do no work; one validates it, one only reads it."""

import sys

import uvicorn
from fastapi import FastAPI, Request
from pydantic import BaseModel


class Digit(BaseModel):
    """The body, as anybody would declare it."""

    image: list[list[float]]


def main() -> None:
    """Serve at the port that is given."""
    app = FastAPI()

    @app.post("/validate")
    async def validate(digit: Digit) -> dict[str, int]:
        return {"rows": len(digit.image)}

    @app.post("/read")
    async def read(request: Request) -> dict[str, int]:
        return {"bytes": len(await request.body())}

    uvicorn.run(app, port=int(sys.argv[1]), log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
