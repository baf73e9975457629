"""The terms of the table and of its cards in Korean; English needs no table."""

from __future__ import annotations

import os

KOREAN = {
    # access
    "open-weights": "가중치 공개",
    "published-architecture": "구조만 공개",
    "recipe": "학습 방법",
    "api-only": "API 전용",
    # kinds
    "encoder": "인코더",
    "decoder": "디코더",
    "encoder-decoder": "인코더-디코더",
    "recurrent": "순환 신경망",
    "vision-language": "시각-언어",
    "unpublished": "미공개",
    # objectives
    "causal language modelling": "다음 단어 예측",
    "masked language modelling": "가려진 단어 예측",
    "prefix language modelling": "접두 언어 모델링",
    "permutation language modelling": "순열 언어 모델링",
    "next sentence prediction": "다음 문장 예측",
    "sentence reordering": "문장 순서 맞추기",
    "span corruption": "구간 복원",
    "denoising": "잡음 제거",
    "entity denoising": "개체 복원",
    "blank infilling": "빈칸 채우기",
    "dialogue modelling": "대화 모델링",
    "replaced token detection": "바뀐 토큰 찾기",
    "knowledge distillation": "지식 증류",
    "translation": "번역",
    "captioning": "그림 설명",
    "image classification": "그림 분류",
    "image-text contrast": "그림-글 대조",
    "image-text matching": "그림-글 맞추기",
    "supervised fine-tuning": "지도 미세 조정",
    "instruction tuning": "지시 조정",
    "reward modelling": "보상 모델링",
    "reinforcement learning from human feedback": "사람 평가 강화 학습(RLHF)",
    # stages of recipes
    "continued pre-training": "이어서 사전 학습",
    "proximal policy optimisation": "근접 정책 최적화(PPO)",
    "advantage actor-critic": "어드밴티지 행위자-비평자(A2C)",
    "behaviour cloning": "행동 복제",
    "best of n": "n개 중 최선 고르기",
    "projector warm-up": "투영층 예열",
    "visual fine-tuning": "시각 미세 조정",
    "visual instruction tuning": "시각 지시 조정",
    "self-distillation with feedback": "평가를 통한 자기 증류",
    # positions, norms, attention, tokenizers
    "none": "없음",
    "learned": "학습된 절대 위치",
    "two-dimensional learned": "학습된 2차원 위치",
    "sinusoidal": "사인파 절대 위치",
    "relative sinusoids": "사인파 상대 위치",
    "relative buckets": "구간별 상대 편향",
    "rotary": "회전 위치(RoPE)",
    "ALiBi": "ALiBi",
    "LayerNorm before": "층 앞 LayerNorm",
    "LayerNorm after": "층 뒤 LayerNorm",
    "RMSNorm before": "층 앞 RMSNorm",
    "DeepNorm": "DeepNorm",
    "multi-head": "다중 헤드",
    "multi-query": "다중 질의",
    "grouped-query": "그룹 질의",
    "banded": "띠 모양",
    "two-stream": "두 흐름",
    "top query": "학습된 질의의 마지막 층",
    "additive": "덧셈",
    "multiplicative": "곱셈",
    "words": "단어",
    # what was taken
    "weights": "가중치",
    "architecture": "구조",
    "idea": "발상",
    "data": "데이터",
    "tokenizer": "토크나이저",
    "objective": "학습 목표",
    # lines of a card
    "year": "연도",
    "organisation": "기관",
    "paper": "논문",
    "access": "공개 방식",
    "kind": "종류",
    "trained by": "학습 목표",
    "positions": "위치",
    "norms": "정규화",
    "activations": "활성화",
    "attention": "주의 집중",
    "Korean": "한국어",
    "family": "계열",
    "builds on": "바탕",
    "used by": "이어받은 모델",
    "run it": "실행",
    "files": "파일",
    "needs a base": "바탕 모델 필요",
    "status": "상태",
    "note": "각주",
    "corrected": "바로잡음",
    "sources": "출처",
    "confidence": "확실성",
    "settings": "설정",
    "size": "크기",
    "layers": "층",
    "hidden": "너비",
    "heads": "헤드",
    "feed-forward": "순방향",
    "vocabulary": "어휘",
    "context": "문맥",
    "published": "공표",
    "counted": "계산",
    "parameters": "매개변수",
    "yes": "예",
    "no": "아니요",
    "not said": "밝히지 않음",
    "high": "높음",
    "medium": "중간",
    "low": "낮음",
    "model": "모델",
    "test": "시험",
    "full": "완전",
    "partly": "일부",
    "from": "출발점",
}


def term(word: str, language: str = "en") -> str:
    """A term in "en" or "ko"; names that have no translation, such as GELU, stay as they are."""
    return KOREAN.get(word, word) if language == "ko" else word


def locale_language() -> str:
    """ "ko" where the environment speaks Korean, "en" elsewhere."""
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        if value := os.environ.get(name):
            return "ko" if value.lower().startswith("ko") else "en"
    return "en"
